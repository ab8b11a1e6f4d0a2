import tracemalloc

import h5py
import mrcfile
import numpy as np
import PIL.Image
import pytest
import tifffile

from connectome.geometry import Box
from connectome.store.locations import StoreError
from connectome.store.sources import open_source, open_volume
from connectome.store.volume import Volume


def stack(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def check(url, array, size=None, offset=(0, 0, 0), thickness=3):
    """The source says what `array` is, and yields it in slabs of any thickness, whole or in pieces."""
    source = open_source(str(url))
    assert source.shape == array.shape[-3:]
    assert source.n_channels == (array.shape[0] if array.ndim == 4 else None)
    assert source.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert source.offset == offset
    assert (source.voxel_size_nm is None) == (size is None)
    if size is not None:
        assert source.voxel_size_nm == pytest.approx(size, rel=1e-4)
    stop = 0
    for start, slab in source.slabs(thickness):
        assert start == stop
        whole = np.asarray(slab[..., slice(None), slice(None)])
        stop += whole.shape[-3]
        np.testing.assert_array_equal(whole, array[..., start:stop, :, :])
        np.testing.assert_array_equal(slab[..., slice(1, 4), slice(2, 3)], array[..., start:stop, 1:4, 2:3])
    assert stop == array.shape[-3]
    np.testing.assert_array_equal(source.read(), array)
    return source


@pytest.mark.parametrize("shape", [(7, 5, 6), (2, 7, 5, 6)])
@pytest.mark.parametrize("dtype", ["uint8", "<u8", ">u2", "float32", "bool"])
def test_numpy_files(tmp_path, shape, dtype):
    array = stack(*shape, dtype=dtype)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", raw=array, other=array)
    np.savez_compressed(tmp_path / "c.npz", only=array)
    np.savez_compressed(tmp_path / "d.npz", turned=np.asfortranarray(array))
    check(tmp_path / "a.npy", array)
    check(f"{tmp_path}/b.npz#raw", array)
    check(tmp_path / "c.npz", array)
    check(f"{tmp_path}/d.npz#turned", array)


def test_a_single_section_is_a_volume_of_one(tmp_path):
    array = stack(5, 6)
    np.save(tmp_path / "a.npy", array)
    PIL.Image.fromarray(array).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", array)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = array
    for name in ("a.npy", "a.png", "a.tif", "a.h5"):
        check(tmp_path / name, array[np.newaxis])


def test_a_compressed_member_is_never_whole_in_memory(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", raw=np.zeros((256, 256, 256), np.uint8))
    source = open_source(f"{tmp_path}/a.npz#raw")
    tracemalloc.start()
    for _, slab in source.slabs(8):
        assert slab[..., :, :].shape == (8, 256, 256)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * 8 * 256 * 256


def test_hdf5_attributes_are_understood(tmp_path):
    array = stack(7, 5, 6)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = file.create_dataset("volumes/raw", data=array, chunks=(2, 5, 3), compression="gzip")
        raw.attrs["resolution"] = (40.0, 4.0, 4.0)
        raw.attrs["offset"] = (80.0, 0.0, 12.0)
        file.create_dataset("affinities", data=stack(3, 7, 5, 6)).attrs["element_size_um"] = (0.04, 0.01, 0.01)
    check(f"{tmp_path}/a.h5#volumes/raw", array, size=(40, 4, 4), offset=(2, 0, 3))
    check(f"{tmp_path}/a.h5#affinities", stack(3, 7, 5, 6), size=(40, 10, 10))
    volume = open_volume(f"{tmp_path}/a.h5#volumes/raw")
    assert volume.box == Box((2, 0, 3), (9, 5, 9))
    np.testing.assert_array_equal(volume.read(Box((3, 1, 4), (4, 3, 6))), array[1:2, 1:3, 1:3])


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_mrc(tmp_path, dtype):
    array = stack(7, 5, 6, dtype=dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
    check(tmp_path / "a.mrc", array)
    with mrcfile.open(tmp_path / "a.mrc", "r+") as file:
        file.voxel_size = (40, 80, 120)
    check(tmp_path / "a.mrc", array, size=(12, 8, 4))


def test_mrc_bytes_of_imod_are_unsigned(tmp_path):
    array = stack(7, 5, 6)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array.view(np.int8))
    with (tmp_path / "a.mrc").open("r+b") as file:
        file.seek(152)
        file.write(np.array([1146047817, 0], "<i4").tobytes())
    check(tmp_path / "a.mrc", array)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_stacks(tmp_path, dtype, compression):
    array = stack(7, 5, 6, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, compression=compression, photometric="minisblack")
    check(tmp_path / "a.tif", array)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_voxel_sizes_and_channels(tmp_path, compression):
    array = stack(7, 2, 5, 6)
    metadata = {"spacing": 0.04, "unit": "um", "axes": "ZCYX"}
    options = {"resolution": (250.0, 125.0), "compression": compression, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata=metadata, **options)
    check(tmp_path / "a.tif", array.swapaxes(0, 1), size=(40, 8, 4))
    metadata = {"axes": "CZYX", "PhysicalSizeX": 4.0, "PhysicalSizeY": 8.0, "PhysicalSizeZ": 40.0}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    tifffile.imwrite(
        tmp_path / "b.ome.tif", array.swapaxes(0, 1), ome=True, metadata=metadata | units, compression=compression
    )
    check(tmp_path / "b.ome.tif", array.swapaxes(0, 1), size=(40, 8, 4))
    tifffile.imwrite(tmp_path / "c.tif", stack(7, 5, 6, 3), photometric="rgb", compression=compression)
    check(tmp_path / "c.tif", np.moveaxis(stack(7, 5, 6, 3), 3, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_sections_are_sorted_by_number(tmp_path, suffix):
    array = stack(12, 5, 6)
    for z, section in enumerate(array):
        path = tmp_path / f"s{z}{suffix}"
        if suffix == ".png":
            PIL.Image.fromarray(section).save(path)
        else:
            tifffile.imwrite(path, section)
    (tmp_path / "notes.txt").write_text("no section")
    check(tmp_path, array)


def test_sections_of_16_bits_and_of_colours(tmp_path):
    array = stack(3, 5, 6, dtype=np.uint16) * 200
    colours = stack(3, 5, 6, 3)
    for name in ("wide", "colour", "grey"):
        (tmp_path / name).mkdir()
    for z in range(3):
        PIL.Image.fromarray(array[z]).save(tmp_path / f"wide/{z}.png")
        PIL.Image.fromarray(colours[z]).save(tmp_path / f"colour/{z}.png")
        PIL.Image.fromarray(colours[z][..., 0]).convert("RGB").save(tmp_path / f"grey/{z}.png")
    check(tmp_path / "wide", array)
    check(tmp_path / "colour", np.moveaxis(colours, 3, 0))
    check(tmp_path / "grey", colours[..., 0])
    PIL.Image.fromarray(colours[0]).save(tmp_path / "grey/3.png")
    with pytest.raises(StoreError, match="coloured"):
        open_source(str(tmp_path / "grey")).read()


def test_volumes_are_sources_too():
    array, box = stack(7, 5, 6), Box((2, 3, 4), (9, 8, 10))
    volume = Volume.create("memory://sources", box=box, dtype="uint8", voxel_size_nm=(4, 5, 6), write_shape=(4, 4, 4))
    volume.write(box, array)
    check("memory://sources", array, size=(4, 5, 6), offset=(2, 3, 4))


def test_what_cannot_be_read(tmp_path):
    def refused(name, message):
        with pytest.raises(StoreError, match=message):
            open_source(f"{tmp_path}/{name}").read()

    np.savez(tmp_path / "a.npz", raw=stack(3, 4, 5), labels=stack(3, 4, 5))
    np.savez(tmp_path / "flat.npz", row=stack(3), objects=np.array([{}], object))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"] = file["volumes/labels"] = stack(3, 4, 5)
    refused("none.tif", "no file or folder")
    refused("a.npz", "several arrays; it holds raw, labels")
    refused("a.npz#row", "no array 'row'; it holds raw, labels")
    refused("a.h5#raw", "no array 'raw'; it holds volumes/labels, volumes/raw")
    refused("flat.npz#row", r"shape \(3,\)")
    refused("flat.npz#objects", "Python objects")
    refused("objects.npy", "cannot read")
    for name in ("b.npz", "b.npy", "b.h5", "b.mrc", "b.tif", "b.png"):
        (tmp_path / name).write_bytes(b"")
        refused(name, "is empty")
        (tmp_path / name).write_bytes(b"something else")
        refused(name, f"cannot read .*{name}")
    (tmp_path / "c.doc").write_bytes(b"text")
    refused("c.doc", "unknown suffix")
    np.save(tmp_path / "a.npy", stack(3, 4, 5))
    refused("a.npy#raw", "no names")
    with pytest.raises(StoreError, match="copy it to a local disk"):
        open_source("gs://bucket/file.h5#raw")
    whole = (tmp_path / "a.npz").read_bytes()
    np.savez_compressed(tmp_path / "cut.npz", raw=stack(90, 40, 50))
    damaged = bytearray((tmp_path / "cut.npz").read_bytes())
    damaged[60_000:60_040] = bytes(40)
    (tmp_path / "cut.npz").write_bytes(damaged)
    refused("cut.npz#raw", "damaged")
    assert whole


def test_sections_that_do_not_fit_together(tmp_path):
    PIL.Image.fromarray(stack(5, 6)).save(tmp_path / "s1.png")
    PIL.Image.fromarray(stack(5, 7)).save(tmp_path / "s2.png")
    with pytest.raises(StoreError, match=r"sections differ: s1\.png is 5 x 6 L, but s2\.png is 5 x 7 L"):
        open_source(str(tmp_path))
    tifffile.imwrite(tmp_path / "s2.tif", stack(5, 6))
    with pytest.raises(StoreError, match=r"several kinds \(2 png, 1 tiff\)"):
        open_source(str(tmp_path))
    (tmp_path / "pages").mkdir()
    tifffile.imwrite(tmp_path / "pages/a.tif", stack(5, 6, 7), photometric="minisblack")
    with pytest.raises(StoreError, match="5 pages"):
        open_source(str(tmp_path / "pages"))
    with tifffile.TiffWriter(tmp_path / "shapes.tif") as writer:
        writer.write(stack(5, 6))
        writer.write(stack(5, 7))
    with pytest.raises(StoreError, match="several shapes"):
        open_source(str(tmp_path / "shapes.tif"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no volume"):
        open_source(str(tmp_path / "empty"))
