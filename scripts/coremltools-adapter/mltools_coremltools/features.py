"""Feature values between Python and the library: numbers, strings, numpy arrays, PIL pictures, dictionaries, lists.

What Core ML's own bindings accept and return is followed: numpy arrays of the described element type (float16 as
float32, which is what coremltools documents), pictures as PIL.Image in mode RGB or RGBA (taken), RGBA (given), L or F.
"""
import ctypes
import numbers

import numpy as np

from .library import USAGE, MltoolsError, check, library, text

NOTHING, INT64, DOUBLE, STRING, ARRAY, IMAGE, DICT_STRING, DICT_INT64, LIST_INT64, LIST_STRING = range(10)
GRAY, RGB, BGR = 1, 2, 3

_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool")
_CODES = {np.dtype(name): code for code, name in enumerate(_DTYPES, start=1)}
_BY_CODE = {code: dtype for dtype, code in _CODES.items()}


def _int64s(values):
    return (ctypes.c_int64 * max(len(values), 1))(*values)


def _doubles(values):
    return (ctypes.c_double * max(len(values), 1))(*values)


def _strings(values):
    return (ctypes.c_char_p * max(len(values), 1))(*(v if isinstance(v, bytes) else v.encode() for v in values))


def _is_picture(value):
    return hasattr(value, "mode") and hasattr(value, "tobytes") and hasattr(value, "size") and hasattr(value, "convert")


class Features:
    """An mlt_features."""

    def __init__(self, handle=None):
        self._as_parameter_ = handle or library().mlt_features_new()
        if not self._as_parameter_:
            raise MemoryError("mlt_features_new")

    def __del__(self):
        if getattr(self, "_as_parameter_", None):
            library().mlt_features_free(self._as_parameter_)
            self._as_parameter_ = None

    def set(self, name, value, described):
        """described: the feature's entry of the model's description, {} for a name that the model does not know."""
        try:
            self._set(name.encode(), value, described)
        except (OverflowError, TypeError, ValueError) as error:
            raise MltoolsError(f'input "{name}": {error}', USAGE) from None

    def _set(self, key, value, described):
        lib = library()
        kind = described.get("type")
        if value is None:
            return
        if isinstance(value, np.generic):
            value = value.item()
        if _is_picture(value):
            self._set_picture(key, value)
        elif isinstance(value, dict):
            self._set_dictionary(key, value, described)
        elif isinstance(value, (bool, numbers.Integral)):
            check(lib.mlt_features_set_int64(self, key, int(value)))
        elif isinstance(value, numbers.Real):
            check(lib.mlt_features_set_double(self, key, float(value)))
        elif isinstance(value, (str, bytes)):
            check(lib.mlt_features_set_string(self, key, value if isinstance(value, bytes) else value.encode()))
        elif kind == "sequence" or (isinstance(value, (list, tuple)) and value and isinstance(value[0], (str, bytes))):
            self._set_list(key, list(value), described)
        else:
            self._set_array(key, np.asarray(value))

    def _set_array(self, key, array):
        if array.dtype == np.uint64:
            array = array.astype(np.int64)
        elif array.dtype.kind == "U" and array.size == 1:
            check(library().mlt_features_set_string(self, key, str(array.reshape(-1)[0]).encode()))
            return
        code = _CODES.get(array.dtype.newbyteorder("="))
        if code is None:
            raise TypeError(f"arrays of {array.dtype} are not features of Core ML")
        array = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
        check(library().mlt_features_set_array(self, key, code, _int64s(array.shape), array.ndim, array.ctypes.data))

    def _set_picture(self, key, picture):
        lib = library()
        if picture.mode == "F":
            pixels = np.ascontiguousarray(np.asarray(picture, dtype=np.float32))
            check(lib.mlt_features_set_image_float(self, key, picture.width, picture.height, pixels.ctypes.data))
            return
        if picture.mode == "RGBA":  # alpha is ignored
            picture = picture.convert("RGB")
        if picture.mode not in ("RGB", "L"):
            raise TypeError(f"pictures of mode {picture.mode} are not supported; RGB, RGBA, L and F are")
        order, channels = (RGB, 3) if picture.mode == "RGB" else (GRAY, 1)
        check(lib.mlt_features_set_image(self, key, order, picture.width, picture.height, picture.width * channels, picture.tobytes()))

    def _set_dictionary(self, key, value, described):
        lib = library()
        if value:
            integers = isinstance(next(iter(value)), numbers.Integral)
        else:
            integers = described.get("element") == "int64"
        weights = _doubles([float(v) for v in value.values()])
        if integers:
            check(lib.mlt_features_set_dict_int64(self, key, _int64s([int(k) for k in value]), weights, len(value)))
        else:
            check(lib.mlt_features_set_dict_string(self, key, _strings(list(value)), weights, len(value)))

    def _set_list(self, key, value, described):
        lib = library()
        if value:
            strings = isinstance(value[0], (str, bytes))
        else:
            strings = described.get("element") == "string"
        if strings:
            check(lib.mlt_features_set_list_string(self, key, _strings(value), len(value)))
        else:
            check(lib.mlt_features_set_list_int64(self, key, _int64s([int(v) for v in value]), len(value)))

    def to_dict(self):
        lib = library()
        names = [lib.mlt_features_name(self, i) for i in range(lib.mlt_features_count(self))]
        return {text(name): self._get(name) for name in names}

    def _get(self, key):
        lib = library()
        kind = lib.mlt_features_kind(self, key)
        if kind == INT64:
            integer = ctypes.c_int64()
            check(lib.mlt_features_int64(self, key, ctypes.byref(integer)))
            return integer.value
        if kind == DOUBLE:
            number = ctypes.c_double()
            check(lib.mlt_features_double(self, key, ctypes.byref(number)))
            return number.value
        if kind == STRING:
            return text(lib.mlt_features_string(self, key))
        if kind == ARRAY:
            return self._get_array(key)
        if kind == IMAGE:
            return self._get_picture(key)
        if kind in (DICT_STRING, DICT_INT64):
            entries = {}
            for i in range(lib.mlt_features_entries(self, key)):
                name = text(lib.mlt_features_entry_key(self, key, i))
                entries[int(name) if kind == DICT_INT64 else name] = lib.mlt_features_entry_value(self, key, i)
            return entries
        if kind == LIST_INT64:
            values, count = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
            check(lib.mlt_features_list_int64(self, key, ctypes.byref(values), ctypes.byref(count)))
            return values[: count.value]
        if kind == LIST_STRING:
            return [text(lib.mlt_features_entry_key(self, key, i)) for i in range(lib.mlt_features_entries(self, key))]
        return None

    def _get_array(self, key):
        code, rank = ctypes.c_int(), ctypes.c_size_t()
        shape, data = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_void_p()
        check(library().mlt_features_array(self, key, ctypes.byref(code), ctypes.byref(shape), ctypes.byref(rank), ctypes.byref(data)))
        # Core ML has no arrays of rank 0: a scalar is an array of one element.
        extents = tuple(shape[: rank.value]) or (1,)
        array = copy_array(data.value, _BY_CODE[code.value], extents)
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def _get_picture(self, key):
        from PIL import Image

        lib = library()
        order, width, height, pixels = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
        arguments = (ctypes.byref(width), ctypes.byref(height), ctypes.byref(pixels))
        status = lib.mlt_features_image_float(self, key, *arguments)
        if status == 0:
            return Image.fromarray(copy_array(pixels.value, np.dtype("float32"), (height.value, width.value)))
        check(lib.mlt_features_image(self, key, ctypes.byref(order), *arguments))
        channels = 1 if order.value == GRAY else 3
        array = copy_array(pixels.value, np.dtype("uint8"), (height.value, width.value, channels))
        if order.value == GRAY:
            return Image.fromarray(np.ascontiguousarray(array[:, :, 0]))
        # Core ML's own bindings give colours with an alpha channel.
        rgba = np.full((height.value, width.value, 4), 255, np.uint8)
        rgba[:, :, :3] = array[:, :, ::-1] if order.value == BGR else array
        return Image.fromarray(rgba)


def copy_array(address, dtype, shape):
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.zeros(shape, dtype)
    buffer = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(buffer, dtype=dtype).reshape(shape).copy()
