"""The datasets on offer."""

from __future__ import annotations

from engine.catalog.entry import Entry, Section, section


def entries() -> Section:
    """All datasets, by id. Their parameters are the fields of ``specs.DatasetSpec``."""
    return section(
        Entry(
            id="digits",
            title="Digits (8x8)",
            family="bundled",
            summary="1,797 real handwritten digits, grey, 8x8; 500 are the test set.",
            paper="Alpaydin & Kaynak 1998, UCI; shipped with scikit-learn",
        ),
        Entry(
            id="folder",
            title="Folder of pictures",
            family="own",
            summary="One directory per class, any format Pillow reads.",
            paper="",
            limits="All pictures must have the size the model expects.",
        ),
        Entry(
            id="npz",
            title="NumPy archive",
            family="own",
            summary="x as uint8 NHWC or float NCHW in [0,1], y as integers.",
            paper="",
        ),
    )
