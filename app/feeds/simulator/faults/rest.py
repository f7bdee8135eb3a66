"""Apply faults to REST calls: reject, delay, corrupt or drop them."""

from __future__ import annotations

from random import Random

from app.feeds.clock import Clock
from app.feeds.simulator.faults.kinds import RestCut, RestMalform, RestRefuse, RestSlow
from app.feeds.simulator.faults.mangling import no_quote
from app.feeds.simulator.faults.schedule import Script
from app.feeds.simulator.rest import RestResponse, SimulatedRestApi, http_rejection


class RestFaults:
    """A REST interface with faults applied."""

    def __init__(self, api: SimulatedRestApi, script: Script, clock: Clock, rng: Random) -> None:
        self._api = api
        self._script = script
        self._clock = clock
        self._rng = rng

    async def answer(self, target: str, header_token: str | None) -> RestResponse | None:
        """Return the response to `GET target`; None if the connection is to be closed."""
        slow = self._script.hit(RestSlow, self._clock.now_ms(), self._rng)
        if slow:
            await self._clock.sleep(slow.by_s * 1000)
        now_ms = self._clock.now_ms()
        if self._script.hit(RestCut, now_ms, self._rng):
            return None
        refuse = self._script.hit(RestRefuse, now_ms, self._rng)
        if refuse:
            return http_rejection(refuse.status, refuse.after_s)
        answer = self._api.answer(target, header_token, now_ms)
        if self._script.hit(RestMalform, now_ms, self._rng):
            return answer._replace(body=no_quote(self._rng))
        return answer
