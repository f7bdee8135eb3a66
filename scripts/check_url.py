"""Check that a service answers, for the health checks of compose.yaml; standard library only.

    python scripts/check_url.py http://127.0.0.1:8050/healthz
    python scripts/check_url.py http://airflow-api:8080/api/v2/monitor/health scheduler

Exit code 0: the address answers with HTTP 200, and the part named second is healthy in its JSON.
"""

import json
import sys
import urllib.request

TIMEOUT_S = 5


def problem(url: str, part: str | None = None) -> str | None:
    """Describe what is wrong at `url` in a sentence; None if it answers and `part` is healthy.

    :param part: a key of Airflow's health report, such as `scheduler`.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            body = answer.read()
    except OSError as error:  # includes HTTP errors
        return f"{url} does not answer: {error}"
    if part is None:
        return None
    state = json.loads(body).get(part, {}).get("status")
    return None if state == "healthy" else f"{part} is {state} according to {url}"


if __name__ == "__main__":
    found = problem(*sys.argv[1:])
    print(found or "ok")
    sys.exit(1 if found else 0)
