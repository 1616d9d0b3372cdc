// The C interface over lib/runtime. No exception leaves a function: what the standard library may throw (memory) is
// caught by guard().
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <new>
#include <nlohmann/json.hpp>

#include "lib/base/threads.h"
#include "lib/capi/mltools.h"
#include "lib/capi/structure.h"
#include "lib/container/compile.h"
#include "lib/container/save.h"
#include "lib/coreml/validate.h"
#include "lib/runtime/image.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"
#include "lib/tensor/npy.h"

struct mlt_model {
  mlt::OpenedModel opened;
  std::unique_ptr<mlt::Predictor> predictor;
  std::string description, structure;
};
struct mlt_state {
  mlt::StateTensors tensors;
};
struct mlt_features {
  mlt::FeatureMap map;
  // Texts handed out by getters: the record as JSON, and the entries of dictionaries and lists.
  mutable std::string json;
  mutable std::map<std::string, std::vector<std::pair<std::string, double>>, std::less<>> entries;
  mutable std::map<std::string, mlt::Tensor, std::less<>> float_pixels;  // of float16 images
};
struct mlt_binding {
  mlt_model* model;
  mlt::ArrayMap inputs, outputs;
  std::unique_ptr<mlt::Binding> bound;  // by the first run after a change
};

namespace {

using namespace mlt;

thread_local std::string last_error;

mlt_status fail(mlt_status status, std::string message) {
  last_error = std::move(message);
  return status;
}
mlt_status fail(const Error& error) {
  return fail(static_cast<mlt_status>(exit_status(error.code)), error.hint.empty() ? error.to_string() : error.to_string() + " (" + error.hint + ")");
}

template <typename F>
mlt_status guard(F&& body) {
  try {
    last_error.clear();
    return body();
  } catch (const std::bad_alloc&) {
    return fail(MLT_RESOURCE, "out of memory");
  } catch (const std::exception& e) {
    return fail(MLT_RESOURCE, e.what());
  }
}

struct DTypeRow {
  mlt_dtype code;
  DType dtype;
};
constexpr DTypeRow kDTypes[] = {{MLT_F16, DType::kF16}, {MLT_F32, DType::kF32}, {MLT_F64, DType::kF64}, {MLT_I8, DType::kI8},
                                {MLT_I16, DType::kI16}, {MLT_I32, DType::kI32}, {MLT_I64, DType::kI64}, {MLT_U8, DType::kU8},
                                {MLT_U16, DType::kU16}, {MLT_U32, DType::kU32}, {MLT_BOOL, DType::kBool}};

// The caller's memory, as a tensor that does not own it.
Result<Tensor> array_window(mlt_dtype dtype, const int64_t* shape, size_t rank, const void* data) {
  if ((shape == nullptr && rank > 0) || data == nullptr || rank > 16) return usage_error("shape or data missing, or rank above 16");
  for (const DTypeRow& row : kDTypes) {
    if (row.code != dtype) continue;
    Dims dims(shape, shape + rank);
    MLT_TRY(element_count(dims));
    return Tensor::window(row.dtype, std::move(dims), const_cast<std::byte*>(static_cast<const std::byte*>(data)), nullptr);
  }
  return usage_error("unknown element type");
}

nlohmann::ordered_json describe(const std::vector<coreml::FeatureDescription>& features) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& feature : features) {
    nlohmann::ordered_json f{{"name", feature.name}, {"type", coreml::feature_kind_name(feature.type.kind)}, {"optional", feature.type.optional}};
    if (feature.type.kind == coreml::FeatureKind::kMultiArray || feature.type.kind == coreml::FeatureKind::kState) {
      f["shape"] = feature.type.array.shape;
      if (auto dtype = feature.type.array.dtype()) f["dtype"] = dtype_name(*dtype);
      if (!feature.type.array.enumerated_shapes.empty()) f["shapes"] = feature.type.array.enumerated_shapes;
      for (const auto& range : feature.type.array.shape_range) f["shapeRange"].push_back({range.lower, range.upper});
    } else if (feature.type.kind == coreml::FeatureKind::kImage) {
      f["width"] = feature.type.image.width;
      f["height"] = feature.type.image.height;
      f["colorSpace"] = static_cast<int>(feature.type.image.color_space);
    } else if (feature.type.kind == coreml::FeatureKind::kDictionary || feature.type.kind == coreml::FeatureKind::kSequence) {
      f["element"] = coreml::feature_kind_name(feature.type.element);
    }
    list.push_back(std::move(f));
  }
  return list;
}

mlt_status finish_open(Result<OpenedModel> opened, const mlt_open_options* options, mlt_model** out) {
  if (!opened) return fail(opened.error());
  auto model = std::make_unique<mlt_model>();
  model->opened = std::move(*opened);
  PredictOptions predict;
  if (options != nullptr) {
    // Callers built against an older header know fewer fields.
    constexpr size_t kFirstSize = offsetof(mlt_open_options, image_fit);
    if (options->size < kFirstSize) return fail(MLT_USAGE, "mlt_open_options.size is not set");
    if (options->size >= sizeof(mlt_open_options)) {
      constexpr Fit kFits[] = {Fit::kStretch, Fit::kCrop, Fit::kPad, Fit::kRefuse};
      if (options->image_fit < MLT_FIT_STRETCH || options->image_fit > MLT_FIT_REFUSE) return fail(MLT_USAGE, "unknown image_fit");
      predict.fit = kFits[options->image_fit];
    }
    if (options->function != nullptr) predict.function = options->function;
    predict.exec.strict_fp16 = options->strict_fp16 != 0;
    predict.exec.fast_kernels = options->reference == 0;
  }
  auto predictor = Predictor::create(model->opened, predict);
  if (!predictor) return fail(predictor.error());
  model->predictor = std::move(*predictor);
  const auto& description = model->predictor->description();
  const coreml::Model& described = model->opened.model;
  nlohmann::ordered_json json{{"kind", described.kind_name()},
                              {"specVersion", described.spec_version()},
                              {"inputs", describe(description.inputs)},
                              {"outputs", describe(description.outputs)},
                              {"states", describe(description.states)},
                              {"predictedFeatureName", description.predicted_feature_name},
                              {"predictedProbabilitiesName", description.predicted_probabilities_name}};
  model->description = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  *out = model.release();
  return MLT_OK;
}

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

mlt_status bind_array(mlt_binding& binding, ArrayMap& arrays, const char* name, Result<Tensor> window) {
  if (name == nullptr) return fail(MLT_USAGE, "name must not be null");
  if (!window) return fail(window.error());
  arrays[name] = std::move(*window);
  binding.bound.reset();
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

const char* mlt_version(void) { return MLT_VERSION; }
const char* mlt_last_error(void) { return last_error.c_str(); }
void mlt_set_threads(int threads) { set_thread_count(std::max(threads, 0)); }

mlt_status mlt_model_open(const char* path, const mlt_open_options* options, mlt_model** model) {
  return guard([&] {
    if (path == nullptr || model == nullptr) return fail(MLT_USAGE, "path and model must not be null");
    return finish_open(open_model(path), options, model);
  });
}

mlt_status mlt_model_open_memory(const void* data, size_t size, const char* name, const mlt_open_options* options, mlt_model** model) {
  return guard([&] {
    if (data == nullptr || model == nullptr) return fail(MLT_USAGE, "data and model must not be null");
    const auto* begin = static_cast<const std::byte*>(data);
    return finish_open(open_memory(Blob(Bytes(begin, begin + size)), name ? name : "model"), options, model);
  });
}

mlt_status mlt_model_open_files(const char* const* names, const void* const* contents, const size_t* sizes, size_t count, const char* name,
                                const mlt_open_options* options, mlt_model** model) {
  return guard([&] {
    if (names == nullptr || contents == nullptr || sizes == nullptr || count == 0 || model == nullptr)
      return fail(MLT_USAGE, "names, contents, sizes and model must not be null, and count not 0");
    std::map<std::string, Blob> files;
    for (size_t i = 0; i < count; ++i) {
      if (names[i] == nullptr || (contents[i] == nullptr && sizes[i] > 0)) return fail(MLT_USAGE, "a name or content is null");
      const auto* begin = static_cast<const std::byte*>(contents[i]);
      files[names[i]] = Blob(Bytes(begin, begin + sizes[i]));
    }
    std::string called = name ? name : "model";
    // A model file at the top is the root of what its program calls @model_path, without the manifest of a package.
    if (auto spec = files.find("model.mlmodel"); spec != files.end()) {
      auto opened = open_memory(spec->second, called);
      if (opened) {
        opened->files = FileTree::from_blobs(std::move(files), called);
        opened->weights = std::make_shared<TreeWeights>(opened->files);
      }
      return finish_open(std::move(opened), options, model);
    }
    return finish_open(open_tree(FileTree::from_blobs(std::move(files), called), called), options, model);
  });
}

void mlt_model_close(mlt_model* model) { delete model; }
const char* mlt_model_describe(const mlt_model* model) { return model ? model->description.c_str() : nullptr; }

const char* mlt_model_structure(mlt_model* model) {
  const mlt_status status = guard([&] {
    if (model == nullptr) return fail(MLT_USAGE, "model must not be null");
    if (!model->structure.empty()) return MLT_OK;
    auto json = structure_json(model->opened);
    if (!json) return fail(json.error());
    model->structure = std::move(*json);
    return MLT_OK;
  });
  return status == MLT_OK ? model->structure.c_str() : nullptr;
}

mlt_status mlt_model_predict(mlt_model* model, const mlt_features* inputs, mlt_state* state, mlt_features** outputs) {
  return guard([&] {
    if (model == nullptr || inputs == nullptr || outputs == nullptr) return fail(MLT_USAGE, "model, inputs and outputs must not be null");
    auto result = model->predictor->predict(inputs->map, state ? &state->tensors : nullptr);
    if (!result) return fail(result.error());
    auto out = std::make_unique<mlt_features>();
    out->map = std::move(*result);
    *outputs = out.release();
    return MLT_OK;
  });
}

mlt_status mlt_model_predict_rows(mlt_model* model, const float* rows, size_t count, size_t width, size_t stride, mlt_features** outputs) {
  return guard([&] {
    if (model == nullptr || rows == nullptr || outputs == nullptr) return fail(MLT_USAGE, "model, rows and outputs must not be null");
    const RowPlan* plan = model->predictor->row_plan();
    if (plan == nullptr) return fail(MLT_UNSUPPORTED, "this model predicts record by record");
    if (static_cast<int64_t>(width) != plan->width)
      return fail(MLT_USAGE, "a row of this model has " + std::to_string(plan->width) + " numbers, not " + std::to_string(width));
    if (stride < width) return fail(MLT_USAGE, "rows overlap: the stride is less than the width");
    if (count > (size_t{1} << 32)) return fail(MLT_USAGE, "too many rows");
    Rows all;
    all.f32 = rows;
    all.count = static_cast<int64_t>(count);
    all.stride = static_cast<int64_t>(stride);
    auto batch = model->predictor->predict_rows(all);
    if (!batch) return fail(batch.error());
    auto out = std::make_unique<mlt_features>();
    for (auto& [name, tensor] : batch->arrays(true)) {
      if (tensor.dtype() == DType::kString) out->map[name] = StringList(tensor.strings());
      else out->map[name] = std::move(tensor);
    }
    *outputs = out.release();
    return MLT_OK;
  });
}

mlt_status mlt_compile(const char* path, const char* directory) {
  return guard([&] {
    if (path == nullptr || directory == nullptr) return fail(MLT_USAGE, "path and directory must not be null");
    std::string_view target = directory;
    while (target.ends_with('/')) target.remove_suffix(1);
    if (!target.ends_with(".mlmodelc")) return fail(MLT_USAGE, "\"" + std::string(target) + "\" is not named .mlmodelc");
    auto source = open_model(path);
    if (!source) return fail(source.error());
    // The name of the model's class is the target's: a source may be a nameless file.
    source->name = model_base_name(std::string(target));
    const std::string signature = std::string("mltools ") + MLT_VERSION;
    auto files = compile_model(*source, {.component_version = signature, .compiler_version = signature});
    if (!files) return fail(files.error());
    if (!files->missing_weights.empty()) return fail(MLT_INPUT, std::string(path) + ": weight file " + files->missing_weights.front() + " is missing");
    Status saved = save_tree(files->tree, std::string(target), false);
    return saved ? MLT_OK : fail(saved.error());
  });
}

int mlt_newest_spec_version(void) { return coreml::kNewestSpecVersion; }
mlt_status mlt_required_spec_version(const void* data, size_t size, int* version) {
  return guard([&] {
    if (data == nullptr || version == nullptr) return fail(MLT_USAGE, "data and version must not be null");
    auto model = open_memory(Blob(nullptr, {static_cast<const std::byte*>(data), size}), "model");
    if (!model) return fail(model.error());
    *version = coreml::required_spec_version(model->model);
    return MLT_OK;
  });
}

mlt_status mlt_state_new(const mlt_model* model, mlt_state** state) {
  return guard([&] {
    if (model == nullptr || state == nullptr) return fail(MLT_USAGE, "model and state must not be null");
    auto tensors = model->predictor->initial_state();
    if (!tensors) return fail(tensors.error());
    *state = new mlt_state{std::move(*tensors)};
    return MLT_OK;
  });
}
void mlt_state_free(mlt_state* state) { delete state; }

mlt_status mlt_state_read(const mlt_state* state, const char* name, const float** data, const int64_t** shape, size_t* rank) {
  return guard([&] {
    if (state == nullptr || name == nullptr) return fail(MLT_USAGE, "state and name must not be null");
    auto it = state->tensors.find(name);
    if (it == state->tensors.end() || it->second.dtype() != DType::kF32) return fail(MLT_USAGE, std::string("no state \"") + name + "\"");
    if (data) *data = it->second.data<float>();
    if (shape) *shape = it->second.dims().data();
    if (rank) *rank = it->second.dims().size();
    return MLT_OK;
  });
}

mlt_status mlt_state_write(mlt_state* state, const char* name, const float* data, size_t count) {
  return guard([&] {
    if (state == nullptr || name == nullptr || data == nullptr) return fail(MLT_USAGE, "state, name and data must not be null");
    auto it = state->tensors.find(name);
    if (it == state->tensors.end() || it->second.dtype() != DType::kF32) return fail(MLT_USAGE, std::string("no state \"") + name + "\"");
    if (static_cast<size_t>(it->second.size()) != count)
      return fail(MLT_USAGE, std::string("state \"") + name + "\" has " + std::to_string(it->second.size()) + " values, " + std::to_string(count) + " given");
    std::memcpy(it->second.mutable_bytes(), data, count * sizeof(float));
    return MLT_OK;
  });
}

mlt_status mlt_binding_new(mlt_model* model, mlt_binding** binding) {
  return guard([&] {
    if (model == nullptr || binding == nullptr) return fail(MLT_USAGE, "model and binding must not be null");
    *binding = new mlt_binding{model, {}, {}, nullptr};
    return MLT_OK;
  });
}
void mlt_binding_free(mlt_binding* binding) { delete binding; }

mlt_status mlt_binding_input(mlt_binding* binding, const char* name, mlt_dtype dtype, const int64_t* shape, size_t rank, const void* data) {
  return guard([&] {
    if (binding == nullptr) return fail(MLT_USAGE, "binding must not be null");
    return bind_array(*binding, binding->inputs, name, array_window(dtype, shape, rank, data));
  });
}
mlt_status mlt_binding_output(mlt_binding* binding, const char* name, mlt_dtype dtype, const int64_t* shape, size_t rank, void* data) {
  return guard([&] {
    if (binding == nullptr) return fail(MLT_USAGE, "binding must not be null");
    return bind_array(*binding, binding->outputs, name, array_window(dtype, shape, rank, data));
  });
}
mlt_status mlt_binding_run(mlt_binding* binding, mlt_state* state) {
  return guard([&] {
    if (binding == nullptr) return fail(MLT_USAGE, "binding must not be null");
    if (binding->bound == nullptr) {
      auto bound = binding->model->predictor->bind(binding->inputs, binding->outputs);
      if (!bound) return fail(bound.error());
      binding->bound = std::move(*bound);
    }
    Status status = binding->bound->run(state ? &state->tensors : nullptr);
    return status ? MLT_OK : fail(status.error());
  });
}

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
