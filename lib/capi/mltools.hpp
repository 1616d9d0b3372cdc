// mltools for C++17: the handles of mltools.h as objects, failures as exceptions. Header only; link libmltools.
//
//   mltools::Model model("cat.mlpackage");
//   mltools::Features in;
//   in.set("image", mltools::Image::file("cat.jpg"));
//   std::cout << model.predict(in).text("classLabel") << '\n';
//
// What `mlcompile --generate c++` writes is a typed class over this header.
#ifndef MLTOOLS_HPP
#define MLTOOLS_HPP
#include <mltools.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mltools {

class Error : public std::runtime_error {
 public:
  Error(mlt_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
  mlt_status status() const { return status_; }

 private:
  mlt_status status_;
};

inline void check(mlt_status status) {
  if (status != MLT_OK) throw Error(status, mlt_last_error());
}

// Row-major and dense; data has the product of shape elements.
template <typename T>
struct Array {
  std::vector<std::int64_t> shape;
  std::vector<T> data;
};

// Bytes, [height, width] of one channel or of three; or a file, which is read when it is given to a model.
struct Image {
  int width = 0, height = 0;
  mlt_pixels order = MLT_RGB;
  std::vector<std::uint8_t> pixels;
  std::string path;
  static Image file(std::string name) {
    Image image;
    image.path = std::move(name);
    return image;
  }
};

// One channel of [height, width] numbers.
struct FloatImage {
  int width = 0, height = 0;
  std::vector<float> pixels;
};

namespace detail {

template <typename T>
constexpr mlt_dtype dtype_of();
template <>
constexpr mlt_dtype dtype_of<float>() { return MLT_F32; }
template <>
constexpr mlt_dtype dtype_of<double>() { return MLT_F64; }
template <>
constexpr mlt_dtype dtype_of<std::int8_t>() { return MLT_I8; }
template <>
constexpr mlt_dtype dtype_of<std::int32_t>() { return MLT_I32; }
template <>
constexpr mlt_dtype dtype_of<std::int64_t>() { return MLT_I64; }

inline float half_to_float(std::uint16_t half) {
  std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 0x3ff, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | fraction << 13;
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  } else {  // zero or subnormal: fraction * 2^-24
    float value = static_cast<float>(fraction) * 5.9604644775390625e-8f;
    return sign ? -value : value;
  }
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename From, typename T>
void copy_as(const void *data, std::vector<T> &out) {
  const char *at = static_cast<const char *>(data);
  for (T &value : out) {
    From from;
    std::memcpy(&from, at, sizeof from);
    at += sizeof from;
    value = static_cast<T>(from);
  }
}

}  // namespace detail

// One record: values by feature name. Movable.
class Features {
 public:
  Features() : handle_(mlt_features_new()) {
    if (!handle_) throw std::bad_alloc();
  }
  explicit Features(mlt_features *owned) : handle_(owned) {}
  mlt_features *get() const { return handle_.get(); }

  void set(const char *name, std::int64_t value) { check(mlt_features_set_int64(get(), name, value)); }
  void set(const char *name, double value) { check(mlt_features_set_double(get(), name, value)); }
  void set(const char *name, const std::string &value) { check(mlt_features_set_string(get(), name, value.c_str())); }
  template <typename T>
  void set(const char *name, const Array<T> &value) {
    std::uint64_t count = 1;
    for (std::int64_t extent : value.shape) count *= static_cast<std::uint64_t>(extent);
    if (count != value.data.size()) throw Error(MLT_USAGE, std::string("input \"") + name + "\": the shape does not fit the data");
    check(mlt_features_set_array(get(), name, detail::dtype_of<T>(), value.shape.data(), value.shape.size(), value.data.data()));
  }
  void set(const char *name, const Image &image) {
    if (!image.path.empty()) return check(mlt_features_set_file(get(), name, image.path.c_str()));
    std::size_t stride = static_cast<std::size_t>(image.width) * (image.order == MLT_GRAY ? 1 : 3);
    if (image.width <= 0 || image.height <= 0 || stride * static_cast<std::size_t>(image.height) != image.pixels.size())
      throw Error(MLT_USAGE, std::string("input \"") + name + "\": the size does not fit the pixels");
    check(mlt_features_set_image(get(), name, image.order, image.width, image.height, stride, image.pixels.data()));
  }
  void set(const char *name, const FloatImage &image) {
    if (image.width <= 0 || image.height <= 0 || static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) != image.pixels.size())
      throw Error(MLT_USAGE, std::string("input \"") + name + "\": the size does not fit the pixels");
    check(mlt_features_set_image_float(get(), name, image.width, image.height, image.pixels.data()));
  }
  void set(const char *name, const std::map<std::string, double> &value) {
    std::vector<const char *> keys;
    std::vector<double> values;
    for (const auto &entry : value) keys.push_back(entry.first.c_str()), values.push_back(entry.second);
    check(mlt_features_set_dict_string(get(), name, keys.data(), values.data(), keys.size()));
  }
  void set(const char *name, const std::map<std::int64_t, double> &value) {
    std::vector<std::int64_t> keys;
    std::vector<double> values;
    for (const auto &entry : value) keys.push_back(entry.first), values.push_back(entry.second);
    check(mlt_features_set_dict_int64(get(), name, keys.data(), values.data(), keys.size()));
  }
  void set(const char *name, const std::vector<std::int64_t> &value) { check(mlt_features_set_list_int64(get(), name, value.data(), value.size())); }
  void set(const char *name, const std::vector<std::string> &value) {
    std::vector<const char *> texts;
    for (const std::string &text : value) texts.push_back(text.c_str());
    check(mlt_features_set_list_string(get(), name, texts.data(), texts.size()));
  }

  mlt_kind kind(const char *name) const { return mlt_features_kind(get(), name); }
  std::int64_t int64(const char *name) const {
    std::int64_t value;
    check(mlt_features_int64(get(), name, &value));
    return value;
  }
  double number(const char *name) const {
    double value;
    check(mlt_features_double(get(), name, &value));
    return value;
  }
  std::string text(const char *name) const {
    const char *value = mlt_features_string(get(), name);
    if (!value) throw Error(MLT_USAGE, mlt_last_error());
    return value;
  }
  // Elements of any stored type, converted.
  template <typename T>
  Array<T> array(const char *name) const {
    mlt_dtype dtype;
    const std::int64_t *shape;
    std::size_t rank;
    const void *data;
    check(mlt_features_array(get(), name, &dtype, &shape, &rank, &data));
    Array<T> out;
    out.shape.assign(shape, shape + rank);
    std::size_t count = 1;
    for (std::int64_t extent : out.shape) count *= static_cast<std::size_t>(extent);
    out.data.resize(count);
    switch (dtype) {
      case MLT_F32: detail::copy_as<float>(data, out.data); break;
      case MLT_F64: detail::copy_as<double>(data, out.data); break;
      case MLT_I8: detail::copy_as<std::int8_t>(data, out.data); break;
      case MLT_I16: detail::copy_as<std::int16_t>(data, out.data); break;
      case MLT_I32: detail::copy_as<std::int32_t>(data, out.data); break;
      case MLT_I64: detail::copy_as<std::int64_t>(data, out.data); break;
      case MLT_U8:
      case MLT_BOOL: detail::copy_as<std::uint8_t>(data, out.data); break;
      case MLT_U16: detail::copy_as<std::uint16_t>(data, out.data); break;
      case MLT_U32: detail::copy_as<std::uint32_t>(data, out.data); break;
      case MLT_F16: {
        const char *at = static_cast<const char *>(data);
        for (std::size_t i = 0; i < count; ++i) {
          std::uint16_t half;
          std::memcpy(&half, at + 2 * i, 2);
          out.data[i] = static_cast<T>(detail::half_to_float(half));
        }
      }
    }
    return out;
  }
  Image image(const char *name) const {
    Image out;
    const std::uint8_t *pixels;
    check(mlt_features_image(get(), name, &out.order, &out.width, &out.height, &pixels));
    out.pixels.assign(pixels, pixels + static_cast<std::size_t>(out.width) * static_cast<std::size_t>(out.height) * (out.order == MLT_GRAY ? 1 : 3));
    return out;
  }
  FloatImage float_image(const char *name) const {
    FloatImage out;
    const float *pixels;
    check(mlt_features_image_float(get(), name, &out.width, &out.height, &pixels));
    out.pixels.assign(pixels, pixels + static_cast<std::size_t>(out.width) * static_cast<std::size_t>(out.height));
    return out;
  }
  std::map<std::string, double> by_text(const char *name) const {
    std::map<std::string, double> out;
    for (std::size_t i = 0, n = entries(name, MLT_DICT_STRING); i < n; ++i) out[mlt_features_entry_key(get(), name, i)] = mlt_features_entry_value(get(), name, i);
    return out;
  }
  std::map<std::int64_t, double> by_int64(const char *name) const {
    std::map<std::int64_t, double> out;
    for (std::size_t i = 0, n = entries(name, MLT_DICT_INT64); i < n; ++i)
      out[std::stoll(mlt_features_entry_key(get(), name, i))] = mlt_features_entry_value(get(), name, i);
    return out;
  }
  std::vector<std::int64_t> int64s(const char *name) const {
    const std::int64_t *values;
    std::size_t count;
    check(mlt_features_list_int64(get(), name, &values, &count));
    return {values, values + count};
  }
  std::vector<std::string> texts(const char *name) const {
    std::vector<std::string> out;
    for (std::size_t i = 0, n = entries(name, MLT_LIST_STRING); i < n; ++i) out.emplace_back(mlt_features_entry_key(get(), name, i));
    return out;
  }
  std::string json() const { return mlt_features_json(get()); }

 private:
  std::size_t entries(const char *name, mlt_kind wanted) const {
    if (kind(name) != wanted) throw Error(MLT_USAGE, std::string("feature \"") + name + "\" is absent or of another kind");
    return mlt_features_entries(get(), name);
  }
  struct Free {
    void operator()(mlt_features *features) const { mlt_features_free(features); }
  };
  std::unique_ptr<mlt_features, Free> handle_;
};

class State {
 public:
  explicit State(mlt_state *owned) : handle_(owned) {}
  mlt_state *get() const { return handle_.get(); }
  Array<float> read(const char *name) const {
    const float *data;
    const std::int64_t *shape;
    std::size_t rank, count = 1;
    check(mlt_state_read(get(), name, &data, &shape, &rank));
    for (std::size_t i = 0; i < rank; ++i) count *= static_cast<std::size_t>(shape[i]);
    return {{shape, shape + rank}, {data, data + count}};
  }
  void write(const char *name, const std::vector<float> &data) { check(mlt_state_write(get(), name, data.data(), data.size())); }

 private:
  struct Free {
    void operator()(mlt_state *state) const { mlt_state_free(state); }
  };
  std::unique_ptr<mlt_state, Free> handle_;
};

// One prediction at a time.
class Model {
 public:
  explicit Model(const std::string &path, const mlt_open_options *options = nullptr) {
    mlt_model *model;
    check(mlt_model_open(path.c_str(), options, &model));
    handle_.reset(model);
  }
  mlt_model *get() const { return handle_.get(); }
  std::string describe() const { return mlt_model_describe(get()); }
  Features predict(const Features &inputs, const State *state = nullptr) const {
    mlt_features *outputs;
    check(mlt_model_predict(get(), inputs.get(), state ? state->get() : nullptr, &outputs));
    return Features(outputs);
  }
  State new_state() const {
    mlt_state *state;
    check(mlt_state_new(get(), &state));
    return State(state);
  }

 private:
  struct Close {
    void operator()(mlt_model *model) const { mlt_model_close(model); }
  };
  std::unique_ptr<mlt_model, Close> handle_;
};

}  // namespace mltools
#endif
