"""Stores full of plates for tests, and the one published recording of real ones."""

from pathlib import Path

import numpy as np

from store_sim.autocheckout import AutoCheckoutSource, read_site
from store_sim.scale_fit import recorded_layout
from store_sim.scale_statistics import PlateRecording, record_plates
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout


def store(gondolas: int = 3) -> StoreLayout:
    made, bins, products = [], [], []
    for gondola in range(1, gondolas + 1):
        for shelf in range(1, 5):
            for number in range(1, 9):
                pose = np.eye(4)
                pose[:3, 3] = [0.1 * number + 1.1 * gondola, 0.3, 0.35 * shelf]
                name = f"{gondola}/{shelf}/{number}"
                made.append(Plate(name, gondola, shelf, number, Box(pose, np.array([0.1, 0.4, 0.3]))))
                products.append(ProductRecord(name, name, 20.0 + 60 * shelf + 10 * number, 100, "EUR"))
                bins.append(Bin(name, name, gondola, shelf, (name,), made[-1].box))
    return StoreLayout("test", bins=tuple(bins), plates=tuple(made), products=tuple(products))


def benchmark(shared: Path) -> tuple[PlateRecording, StoreLayout]:
    """BENCHMARK-1, and its store with the plates that were recorded."""
    site = read_site(shared / "nanostore" / "site")
    recording = record_plates(AutoCheckoutSource(shared / "nanostore" / "BENCHMARK-1", site.plates))
    return recording, recorded_layout(recording, site)
