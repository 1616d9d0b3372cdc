// The C interface over lib/runtime: models, states, bound arrays, predictions.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/base/threads.h"
#include "lib/capi/internal.h"
#include "lib/capi/structure.h"
#include "lib/container/compile.h"
#include "lib/container/save.h"
#include "lib/coreml/validate.h"

using namespace mlt;
using namespace mlt::capi;

namespace {

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
    constexpr size_t kFirstSize = offsetof(mlt_open_options, image_fit), kSecondSize = offsetof(mlt_open_options, bf16);
    if (options->size < kFirstSize) return fail(MLT_USAGE, "mlt_open_options.size is not set");
    if (options->size >= sizeof(mlt_open_options)) {
      if (options->bf16 < MLT_BF16_NEVER || options->bf16 > MLT_BF16_ALWAYS) return fail(MLT_USAGE, "unknown bf16");
      if (options->bf16 != MLT_BF16_NEVER && options->reference != 0) return fail(MLT_USAGE, "bf16 chooses among the fast kernels, and reference uses none");
      predict.exec.bf16 = static_cast<Bf16>(options->bf16);
    }
    if (options->size >= kSecondSize) {
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

mlt_status bind_array(mlt_binding& binding, ArrayMap& arrays, const char* name, Result<Tensor> window) {
  if (name == nullptr) return fail(MLT_USAGE, "name must not be null");
  if (!window) return fail(window.error());
  arrays[name] = std::move(*window);
  binding.bound.reset();
  return MLT_OK;
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

}  // extern "C"
