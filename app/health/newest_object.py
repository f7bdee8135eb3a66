"""Find the newest object of the lake."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import TopicPartition

from app.lake import DATASETS, list_folders, list_objects
from app.settings import Settings

RECENT_OFFSETS = 20_000
"""Objects whose first offset is more than this before the end of their partition are not listed."""
THREADS = 8


def newest_object_ms(
    settings: Settings, client: Any, ends: dict[TopicPartition, int]
) -> int | None:
    """Return when the newest object of the lake was written, in UNIX ms; None without objects.

    :param client: a boto3 client of the lake.
    :param ends: end offsets; objects far before the end of their partition are not listed. Folders
        without an end offset (Kafka does not answer) are listed in full.
    :raises BotoCoreError, ClientError: the lake does not answer, or denies access.
    """
    ends_by_name = {(end.topic, end.partition): offset for end, offset in ends.items()}

    def below(folder: str) -> list[str]:
        return list(list_folders(client, settings, folder))

    def newest(folder: str) -> list[int]:
        *_, incarnation, number, _ = folder.split("/")
        topic = settings.named(incarnation.rpartition(".")[0])
        end = ends_by_name.get((topic, int(number)), 0) if number.isdecimal() else 0
        after = f"{folder}{max(0, end - RECENT_OFFSETS):019d}"
        found = list_objects(client, settings, folder, after)
        return [int(item.modified.timestamp() * 1000) for item in found]

    with ThreadPoolExecutor(THREADS) as pool:
        datasets = [f"bronze/{dataset}/" for dataset in DATASETS]
        incarnations = [name for names in pool.map(below, datasets) for name in _newest_of(names)]
        folders = [name for names in pool.map(below, incarnations) for name in names]
        return max((ms for times in pool.map(newest, folders) for ms in times), default=None)


def _newest_of(incarnations: list[str]) -> list[str]:
    """Return the newest incarnation of each topic; names of one topic sort by time."""
    newest: dict[str, str] = {}
    for name in sorted(incarnations):
        newest[name.rpartition(".")[0]] = name
    return list(newest.values())
