"""The commands of ``tillfree gallery``: enrol products from pictures, look at what is enrolled, name a crop."""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.table import Table

from cart.terminal import OUT, UsageError, check_outputs, counted, one_line_errors
from models.weights import resolve_weights
from vision.arrays import ImageArray
from vision.products import Gallery, ProductRecogniser, contact_sheet, cropped_to_product, together

gallery_app = typer.Typer(help="What the products of a shop look like, from a few pictures of each.")

MODEL = "tillfree-products"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_Gallery = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's file.")]
_Weights = Annotated[str, typer.Option(metavar="NAME|FILE", help="The network that embeds pictures.")]


def _picture(file: Path) -> ImageArray:
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError(f"{file}: expected a picture, it could not be read as one")
    return np.asarray(image, np.uint8)


def _pictures_by_sku(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder with one folder of pictures for each product")
    found = {
        part.name: sorted(file for file in part.iterdir() if file.suffix.lower() in PICTURES)
        for part in sorted(folder.iterdir())
        if part.is_dir()
    }
    if not found:
        raise UsageError(f"{folder}: there is no folder in it; expected one for each product, named by its barcode")
    return found


@gallery_app.command()
def enrol(
    gallery: _Gallery,
    pictures: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="One folder of pictures for each product, named by its barcode.")
    ],
    replace: Annotated[bool, typer.Option(help="Take these pictures in place of a product's earlier ones.")] = False,
    weights: _Weights = MODEL,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw all pictures on one sheet, to look through.")
    ] = None,
) -> None:
    """Enrol products from pictures, without training.

    Four to six pictures of each, from several sides, on a plain ground or cut to the product.
    """
    with one_line_errors():
        check_outputs((gallery, sheet), None)
        by_sku = _pictures_by_sku(pictures)
        recogniser = ProductRecogniser.load(resolve_weights(weights))
        filled = Gallery.load(gallery) if gallery.exists() else Gallery.empty(recogniser)
        for sku, files in by_sku.items():
            if not files:
                raise UsageError(f"{pictures / sku}: there is no picture in it ({', '.join(PICTURES)})")
            images = [cropped_to_product(_picture(file)) for file in files]
            if replace and sku in filled.skus:
                filled = filled.replace(sku, images, recogniser)
            else:
                filled = filled.enrol(sku, images, recogniser)
        filled.save(gallery)
        OUT.print(
            f"{gallery}: {counted(len(filled), 'product')}, {counted(len(filled.sku_row), 'picture')}", markup=False
        )
        if sheet is not None:
            _write(sheet, contact_sheet(filled))


@gallery_app.command()
def show(
    gallery: _Gallery,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw all pictures on one sheet, to look through.")
    ] = None,
) -> None:
    """Say what is enrolled, and which products look most alike."""
    with one_line_errors():
        check_outputs((sheet,), None)
        filled = Gallery.load(gallery)
        table = Table("product", "pictures", "most like", "similarity")
        alike = filled.similarity(filled.embeddings)
        for row, sku in enumerate(filled.skus):
            own = alike[filled.sku_row == row].max(axis=0)
            own[row] = -1.0
            other = int(own.argmax())
            nearest = (filled.skus[other], f"{own[other]:.2f}") if len(filled) > 1 else ("", "")
            table.add_row(sku, str(int((filled.sku_row == row).sum())), *nearest)
        OUT.print(table)
        if sheet is not None:
            _write(sheet, contact_sheet(filled))


@gallery_app.command()
def remove(
    gallery: _Gallery, sku: Annotated[str, typer.Argument(metavar="SKU", help="The product to take out.")]
) -> None:
    """Take a product out of a gallery."""
    with one_line_errors():
        Gallery.load(gallery).remove(sku).save(gallery)


@gallery_app.command()
def name(
    gallery: _Gallery,
    crops: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Pictures cut to one thing each.")],
    weights: _Weights = MODEL,
    one_thing: Annotated[bool, typer.Option("--one-thing", help="All pictures show the same thing.")] = False,
) -> None:
    """Say which products pictures show, with probabilities."""
    with one_line_errors():
        recogniser = ProductRecogniser.load(resolve_weights(weights))
        filled = Gallery.load(gallery)
        said = recogniser.recognise([_picture(file) for file in crops], filled)
        names = [str(file) for file in crops]
        if one_thing:
            said, names = together(said), [counted(len(crops), "picture")]
        table = Table("picture", "answer", "probability", "none of them", "next")
        for row, (name, best) in enumerate(zip(names, said.best(), strict=True)):
            top = said.top(row, 2)
            chance = f"{top[0][1]:.2f}" if top else ""
            rest = f"{top[1][0]} {top[1][1]:.2f}" if len(top) > 1 else ""
            table.add_row(name, best or "don't know", chance, f"{said.unknown[row]:.2f}", rest)
        OUT.print(table)


def _write(file: Path, image: ImageArray) -> None:
    done, encoded = cv2.imencode(file.suffix or ".png", image)
    if not done:
        raise UsageError(f"{file}: expected a file name that ends in .png or .jpg")
    file.write_bytes(encoded.tobytes())
