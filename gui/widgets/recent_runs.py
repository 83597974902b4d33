"""Which of very many runs are listed, and which are found by words; no widgets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.store.run_table import RunTable
from engine.store.text_column import Places
from gui.widgets.run_filter import FilterError, parse

MOST_LISTED = 200
MOST_FOUND = 50

Mask = npt.NDArray[np.bool_]


def recent(table: RunTable, wanted: Mask, most: int = MOST_LISTED) -> Places:
    """Of the wanted runs those of the studies that were started last, the latest run first.

    Args:
        wanted: (n,) which runs of the table may be listed.
    """
    gathered = np.zeros(len(wanted), np.bool_)  # np.unique would import numpy.ma, in 15 ms
    for study in table.studies():
        places = table.places(study.run_ids)
        gathered[places[wanted[places]]] = True
        if np.count_nonzero(gathered) >= most:
            break
    return table.latest(np.flatnonzero(gathered), "started", most)


def found(table: RunTable, wanted: Mask, text: str, most: int = MOST_FOUND) -> Places:
    """Of the wanted runs those that a filter line or a number means, the newest first.

    A line that is not understood, or not yet, means none.
    """
    try:
        mask = parse(text).mask(table) & wanted
    except FilterError:
        return np.array([], np.int64)
    places = np.flatnonzero(mask)[::-1][:most]
    if text.strip().isascii() and text.strip().isdigit():
        named = table.places([int(text)])
        named = named[wanted[named]]
        places = np.concatenate([named, places[~np.isin(places, named)]])
    return places
