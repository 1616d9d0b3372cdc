// Features in the C interface: values in and out of a record.
#include <algorithm>
#include <cstring>

#include "lib/capi/internal.h"
#include "lib/runtime/image.h"
#include "lib/runtime/records.h"
#include "lib/tensor/npy.h"

using namespace mlt;
using namespace mlt::capi;

namespace {

const FeatureValue* find(const mlt_features* features, const char* name) {
  if (features == nullptr || name == nullptr) return nullptr;
  auto it = features->map.find(std::string_view(name));
  return it == features->map.end() ? nullptr : &it->second;
}

template <typename T>
const T* get(const mlt_features* features, const char* name) {
  const FeatureValue* value = find(features, name);
  const T* typed = value != nullptr ? std::get_if<T>(value) : nullptr;
  if (typed == nullptr) fail(MLT_USAGE, std::string("no feature \"") + (name ? name : "") + "\" of that kind");
  return typed;
}

mlt_status set(mlt_features* features, const char* name, FeatureValue value) {
  if (features == nullptr || name == nullptr) return fail(MLT_USAGE, "features and name must not be null");
  features->map[name] = std::move(value);
  features->entries.erase(name);
  features->float_pixels.erase(name);
  return MLT_OK;
}

const std::vector<std::pair<std::string, double>>* entries_of(const mlt_features* features, const char* name) {
  const FeatureValue* value = find(features, name);
  if (value == nullptr) return nullptr;
  auto it = features->entries.find(std::string_view(name));
  if (it != features->entries.end()) return &it->second;
  std::vector<std::pair<std::string, double>> list;
  if (const auto* strings = std::get_if<StringDict>(value)) list.assign(strings->begin(), strings->end());
  if (const auto* ints = std::get_if<IntDict>(value))
    for (const auto& [k, v] : *ints) list.emplace_back(std::to_string(k), v);
  if (const auto* numbers = std::get_if<IntList>(value))
    for (int64_t n : *numbers) list.emplace_back("", static_cast<double>(n));
  if (const auto* texts = std::get_if<StringList>(value))
    for (const std::string& text : *texts) list.emplace_back(text, 0);
  return &(features->entries[name] = std::move(list));
}

}  // namespace

extern "C" {

mlt_features* mlt_features_new(void) { return new (std::nothrow) mlt_features; }
void mlt_features_free(mlt_features* features) { delete features; }
size_t mlt_features_count(const mlt_features* features) { return features ? features->map.size() : 0; }
const char* mlt_features_name(const mlt_features* features, size_t index) {
  if (features == nullptr || index >= features->map.size()) return nullptr;
  return std::next(features->map.begin(), static_cast<ptrdiff_t>(index))->first.c_str();
}
mlt_kind mlt_features_kind(const mlt_features* features, const char* name) {
  const FeatureValue* value = find(features, name);
  return value == nullptr ? MLT_NOTHING : static_cast<mlt_kind>(value->index());
}

mlt_status mlt_features_set_int64(mlt_features* features, const char* name, int64_t value) {
  return guard([&] { return set(features, name, value); });
}
mlt_status mlt_features_set_double(mlt_features* features, const char* name, double value) {
  return guard([&] { return set(features, name, value); });
}
mlt_status mlt_features_set_string(mlt_features* features, const char* name, const char* value) {
  return guard([&] {
    if (value == nullptr) return fail(MLT_USAGE, "value must not be null");
    return set(features, name, std::string(value));
  });
}
mlt_status mlt_features_set_array(mlt_features* features, const char* name, mlt_dtype dtype, const int64_t* shape, size_t rank, const void* data) {
  return guard([&] {
    auto window = array_window(dtype, shape, rank, data);
    if (!window) return fail(window.error());
    return set(features, name, window->clone());
  });
}
mlt_status mlt_features_set_image(mlt_features* features, const char* name, mlt_pixels order, int width, int height, size_t stride, const uint8_t* pixels) {
  return guard([&] {
    Image image;
    image.order = order == MLT_GRAY ? PixelOrder::kGray : order == MLT_BGR ? PixelOrder::kBgr : PixelOrder::kRgb;
    image.channels = order == MLT_GRAY ? 1 : 3;
    if (order < MLT_GRAY || order > MLT_BGR || pixels == nullptr || width <= 0 || height <= 0 || int64_t{width} * height > (int64_t{1} << 26))
      return fail(MLT_USAGE, "image size, order or pixels");
    auto row = static_cast<size_t>(width) * static_cast<size_t>(image.channels);
    if (stride < row) return fail(MLT_USAGE, "image stride is smaller than a row");
    image.width = width;
    image.height = height;
    image.pixels = Tensor::uninitialized(DType::kU8, {height, width, image.channels});
    for (int y = 0; y < height; ++y) std::memcpy(image.pixels.mutable_bytes() + static_cast<size_t>(y) * row, pixels + static_cast<size_t>(y) * stride, row);
    return set(features, name, std::move(image));
  });
}
mlt_status mlt_features_set_image_float(mlt_features* features, const char* name, int width, int height, const float* pixels) {
  return guard([&] {
    if (pixels == nullptr || width <= 0 || height <= 0 || int64_t{width} * height > (int64_t{1} << 26)) return fail(MLT_USAGE, "image size or pixels");
    Image image;
    image.order = PixelOrder::kGray;
    image.channels = 1;
    image.width = width;
    image.height = height;
    image.pixels = Tensor::uninitialized(DType::kF32, {height, width, 1});
    std::memcpy(image.pixels.mutable_bytes(), pixels, static_cast<size_t>(image.pixels.nbytes()));
    image.pixels = convert(image.pixels, DType::kF16);
    return set(features, name, std::move(image));
  });
}
mlt_status mlt_features_set_file(mlt_features* features, const char* name, const char* path) {
  return guard([&] {
    if (path == nullptr) return fail(MLT_USAGE, "path must not be null");
    auto file = map_file(path);
    if (!file) return fail(file.error());
    if (file->text().starts_with("\x93NUMPY")) {
      auto tensor = read_npy(*file);
      if (!tensor) return fail(tensor.error());
      return set(features, name, std::move(*tensor));
    }
    auto image = decode_image(file->bytes());
    if (!image) return fail(image.error());
    return set(features, name, std::move(*image));
  });
}
mlt_status mlt_features_set_dict_string(mlt_features* features, const char* name, const char* const* keys, const double* values, size_t count) {
  return guard([&] {
    if (count > 0 && (keys == nullptr || values == nullptr)) return fail(MLT_USAGE, "keys and values must not be null");
    StringDict dict;
    for (size_t i = 0; i < count; ++i) dict[keys[i]] = values[i];
    return set(features, name, std::move(dict));
  });
}
mlt_status mlt_features_set_dict_int64(mlt_features* features, const char* name, const int64_t* keys, const double* values, size_t count) {
  return guard([&] {
    if (count > 0 && (keys == nullptr || values == nullptr)) return fail(MLT_USAGE, "keys and values must not be null");
    IntDict dict;
    for (size_t i = 0; i < count; ++i) dict[keys[i]] = values[i];
    return set(features, name, std::move(dict));
  });
}
mlt_status mlt_features_set_list_int64(mlt_features* features, const char* name, const int64_t* values, size_t count) {
  return guard([&] {
    if (count > 0 && values == nullptr) return fail(MLT_USAGE, "values must not be null");
    return set(features, name, IntList(values, values + count));
  });
}
mlt_status mlt_features_set_list_string(mlt_features* features, const char* name, const char* const* values, size_t count) {
  return guard([&] {
    if (count > 0 && values == nullptr) return fail(MLT_USAGE, "values must not be null");
    return set(features, name, StringList(values, values + count));
  });
}

mlt_status mlt_features_int64(const mlt_features* features, const char* name, int64_t* value) {
  return guard([&] {
    const auto* found = get<int64_t>(features, name);
    if (found == nullptr || value == nullptr) return MLT_USAGE;
    *value = *found;
    return MLT_OK;
  });
}
mlt_status mlt_features_double(const mlt_features* features, const char* name, double* value) {
  return guard([&] {
    const auto* found = get<double>(features, name);
    if (found == nullptr || value == nullptr) return MLT_USAGE;
    *value = *found;
    return MLT_OK;
  });
}
const char* mlt_features_string(const mlt_features* features, const char* name) {
  const char* text = nullptr;
  guard([&] {
    const auto* found = get<std::string>(features, name);
    if (found != nullptr) text = found->c_str();
    return found != nullptr ? MLT_OK : MLT_USAGE;
  });
  return text;
}
mlt_status mlt_features_array(const mlt_features* features, const char* name, mlt_dtype* dtype, const int64_t** shape, size_t* rank, const void** data) {
  return guard([&] {
    const auto* tensor = get<Tensor>(features, name);
    if (tensor == nullptr) return MLT_USAGE;
    for (const DTypeRow& row : kDTypes) {
      if (row.dtype != tensor->dtype()) continue;
      if (dtype) *dtype = row.code;
      if (shape) *shape = tensor->dims().data();
      if (rank) *rank = tensor->dims().size();
      if (data) *data = tensor->bytes().data();
      return MLT_OK;
    }
    return fail(MLT_UNSUPPORTED, std::string("arrays of ") + std::string(dtype_name(tensor->dtype())) + " have no code in this interface");
  });
}
mlt_status mlt_features_image(const mlt_features* features, const char* name, mlt_pixels* order, int* width, int* height, const uint8_t** pixels) {
  return guard([&] {
    const auto* image = get<Image>(features, name);
    if (image == nullptr) return MLT_USAGE;
    if (image->pixels.dtype() != DType::kU8) return fail(MLT_UNSUPPORTED, "the image's pixels are not bytes");
    if (order) *order = image->order == PixelOrder::kGray ? MLT_GRAY : image->order == PixelOrder::kBgr ? MLT_BGR : MLT_RGB;
    if (width) *width = image->width;
    if (height) *height = image->height;
    if (pixels) *pixels = image->pixels.data<uint8_t>();
    return MLT_OK;
  });
}
mlt_status mlt_features_image_float(const mlt_features* features, const char* name, int* width, int* height, const float** pixels) {
  return guard([&] {
    const auto* image = get<Image>(features, name);
    if (image == nullptr) return MLT_USAGE;
    if (!is_float(image->pixels.dtype())) return fail(MLT_USAGE, "the image's pixels are bytes");
    Tensor& floats = features->float_pixels[name];
    if (!floats.valid()) floats = convert(image->pixels, DType::kF32);
    if (width) *width = image->width;
    if (height) *height = image->height;
    if (pixels) *pixels = floats.data<float>();
    return MLT_OK;
  });
}
mlt_status mlt_features_list_int64(const mlt_features* features, const char* name, const int64_t** values, size_t* count) {
  return guard([&] {
    const auto* list = get<IntList>(features, name);
    if (list == nullptr) return MLT_USAGE;
    if (values) *values = list->data();
    if (count) *count = list->size();
    return MLT_OK;
  });
}
size_t mlt_features_entries(const mlt_features* features, const char* name) {
  size_t count = 0;
  guard([&] {
    if (const auto* list = entries_of(features, name)) count = list->size();
    return MLT_OK;
  });
  return count;
}
const char* mlt_features_entry_key(const mlt_features* features, const char* name, size_t index) {
  const char* text = nullptr;
  guard([&] {
    const auto* list = entries_of(features, name);
    if (list != nullptr && index < list->size()) text = (*list)[index].first.c_str();
    return MLT_OK;
  });
  return text;
}
double mlt_features_entry_value(const mlt_features* features, const char* name, size_t index) {
  double number = 0;
  guard([&] {
    const auto* list = entries_of(features, name);
    if (list != nullptr && index < list->size()) number = (*list)[index].second;
    return MLT_OK;
  });
  return number;
}
const char* mlt_features_json(const mlt_features* features) {
  if (features == nullptr) return nullptr;
  guard([&] {
    features->json = to_json(features->map);
    return MLT_OK;
  });
  return features->json.c_str();
}

}  // extern "C"
