#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/capi/mltools.h"

static int failures = 0;
#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) {                                              \
      printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, mlt_last_error()); \
      ++failures;                                                    \
    }                                                                \
  } while (0)

static const char kProgram[] =
    "program(1.3)\n"
    "[buildInfo = dict<string, string>({})]\n"
    "{\n"
    "    func main<ios18>(state<tensor<fp16, [2]>> acc, tensor<fp32, [2]> x) {\n"
    "            string to16 = const()[name = string(\"to16\"), val = string(\"fp16\")];\n"
    "            tensor<fp16, [2]> x16 = cast(dtype = to16, x = x)[name = string(\"x16\")];\n"
    "            tensor<fp16, [2]> old = read_state(input = acc)[name = string(\"old\")];\n"
    "            tensor<fp16, [2]> sum = add(x = old, y = x16)[name = string(\"sum\")];\n"
    "            write_state(data = sum, input = acc)[name = string(\"w\")];\n"
    "            string to32 = const()[name = string(\"to32\"), val = string(\"fp32\")];\n"
    "            tensor<fp32, [2]> y = cast(dtype = to32, x = sum)[name = string(\"y\")];\n"
    "        } -> (y);\n"
    "}";

/* A list that grows, declared as coremltools declares it: with the length it is made with. */
static const char kList[] =
    "program(1.0)\n"
    "[buildInfo = dict<tensor<string, []>, tensor<string, []>>({})]\n"
    "{\n"
    "    func main<ios15>(tensor<fp32, [2]> x) {\n"
    "            tensor<int32, []> length = const()[name = tensor<string, []>(\"length\"), val = tensor<int32, []>(1)];\n"
    "            tensor<int32, []> two = const()[name = tensor<string, []>(\"two\"), val = tensor<int32, []>(2)];\n"
    "            tensor<bool, []> grows = const()[name = tensor<string, []>(\"grows\"), val = tensor<bool, []>(true)];\n"
    "            tensor<string, []> dtype = const()[name = tensor<string, []>(\"dtype\"), val = tensor<string, []>(\"fp32\")];\n"
    "            list<tensor<fp32, [2]>, 1> made = make_list(dtype = dtype, dynamic_length = grows, elem_shape = two, init_length = length)"
    "[name = tensor<string, []>(\"made\")];\n"
    "            list<tensor<fp32, [2]>, 1> written = list_write(index = two, ls = made, value = x)[name = tensor<string, []>(\"written\")];\n"
    "            tensor<fp32, [2]> y = list_read(index = two, ls = written)[name = tensor<string, []>(\"y\")];\n"
    "        } -> (y);\n"
    "}";

/* A linear regressor, y = 2 x + 1, as an .mlmodel. */
static const unsigned char kLine[] = {0x08, 0x01, 0x12, 0x15, 0x0a, 0x07, 0x0a, 0x01, 'x',  0x1a, 0x02, 0x12, 0x00, 0x52, 0x07, 0x0a, 0x01,
                                      'y',  0x1a, 0x02, 0x12, 0x00, 0x5a, 0x01, 'y',  0xe2, 0x12, 0x16, 0x0a, 0x0a, 0x0a, 0x08, 0x00, 0x00,
                                      0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x12, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf0, 0x3f};

static void test_rows(void) {
  mlt_model *model = NULL;
  mlt_features *out = NULL;
  const float rows[] = {1, -1, 2.5f, -1, NAN, -1};
  CHECK(mlt_model_open_memory(kLine, sizeof(kLine), "line", NULL, &model) == MLT_OK);
  if (model == NULL) return;
  CHECK(mlt_model_predict_rows(model, rows, 3, 2, 2, &out) == MLT_USAGE);
  CHECK(mlt_model_predict_rows(model, rows, 3, 1, 0, &out) == MLT_USAGE);
  CHECK(mlt_model_predict_rows(model, NULL, 3, 1, 2, &out) == MLT_USAGE);
  CHECK(mlt_model_predict_rows(model, rows, 3, 1, 2, &out) == MLT_OK);
  mlt_dtype dtype;
  const int64_t *shape;
  size_t rank;
  const void *data;
  CHECK(mlt_features_array(out, "y", &dtype, &shape, &rank, &data) == MLT_OK);
  CHECK(dtype == MLT_F64 && rank == 1 && shape[0] == 3);
  CHECK(((const double *)data)[0] == 3 && ((const double *)data)[1] == 6 && isnan(((const double *)data)[2]));
  mlt_features_free(out);
  mlt_model_close(model);
  CHECK(mlt_model_open_memory(kProgram, strlen(kProgram), "program", NULL, &model) == MLT_OK);
  CHECK(mlt_model_predict_rows(model, rows, 1, 1, 1, &out) == MLT_UNSUPPORTED);
  mlt_model_close(model);
}

static void test_list(void) {
  mlt_model *model = NULL;
  const char *names[] = {"model.mlmodelc/model.mil", "model.mlmodelc/other"};
  const void *contents[] = {kList, ""};
  const size_t sizes[] = {sizeof(kList) - 1, 0};
  CHECK(mlt_model_open_files(NULL, contents, sizes, 1, NULL, NULL, &model) == MLT_USAGE);
  CHECK(mlt_model_open_files(names + 1, contents + 1, sizes + 1, 1, NULL, NULL, &model) == MLT_INPUT);
  mlt_open_options options = {sizeof(options), NULL, 0, 0, 17, 0, 0};
  CHECK(mlt_model_open_memory(kList, strlen(kList), "list", &options, &model) == MLT_USAGE);
  options.image_fit = MLT_FIT_REFUSE;
  options.bf16 = 3;
  CHECK(mlt_model_open_memory(kList, strlen(kList), "list", &options, &model) == MLT_USAGE);
  options.bf16 = MLT_BF16_ALWAYS;
  options.reference = 1;
  CHECK(mlt_model_open_memory(kList, strlen(kList), "list", &options, &model) == MLT_USAGE);
  options.reference = 0;
  CHECK(mlt_model_open_memory(kList, strlen(kList), "list", &options, &model) == MLT_OK);
  if (model == NULL) return;
  const char *structure = mlt_model_structure(model);
  CHECK(structure != NULL && strstr(structure, "{\"operator\":\"list_read\",\"inputs\":{\"index\":[\"two\"],\"ls\":[\"written\"]},\"outputs\":[\"y\"],\"blocks\":[],\"cost\":0.") != NULL);
  CHECK(mlt_model_structure(NULL) == NULL);
  mlt_features *in = mlt_features_new(), *out = NULL;
  const int64_t shape[] = {2};
  const float values[] = {1, 2.5f};
  CHECK(mlt_features_set_array(in, "x", MLT_F32, shape, 1, values) == MLT_OK);
  CHECK(mlt_model_predict(model, in, NULL, &out) == MLT_OK);
  CHECK(strcmp(mlt_features_json(out), "{\"y\": [1, 2.5]}") == 0);
  mlt_features_free(out);
  mlt_features_free(in);
  mlt_model_close(model);
}

static void test_values(void) {
  mlt_features *features = mlt_features_new();
  const float greys[] = {-1, 0.5f, 300, 2, 3, 4};
  int width = 0, height = 0;
  const float *pixels = NULL;
  const int64_t numbers[] = {3, -4}, *list = NULL;
  size_t count = 0;
  CHECK(mlt_features_set_image_float(features, "g", 3, 2, greys) == MLT_OK);
  CHECK(mlt_features_set_image_float(features, "g", 0, 2, greys) == MLT_USAGE);
  CHECK(mlt_features_image_float(features, "g", &width, &height, &pixels) == MLT_OK && width == 3 && height == 2 && pixels[2] == 300);
  CHECK(mlt_features_set_list_int64(features, "l", numbers, 2) == MLT_OK);
  CHECK(mlt_features_list_int64(features, "l", &list, &count) == MLT_OK && count == 2 && list[1] == -4);
  CHECK(mlt_features_list_int64(features, "g", &list, &count) == MLT_USAGE);
  CHECK(mlt_features_image_float(features, "l", &width, &height, &pixels) == MLT_USAGE);
  mlt_features_free(features);
  int version = 0;
  CHECK(mlt_newest_spec_version() >= 10);
  CHECK(mlt_required_spec_version("\xff\xff", 2, &version) == MLT_INPUT);
  CHECK(mlt_compile("/nonexistent.mlmodel", "/tmp/x.mlmodelc") == MLT_INPUT);
  CHECK(mlt_compile("/nonexistent.mlmodel", "/tmp/x.other") == MLT_USAGE);
}

int main(void) {
  test_list();
  test_rows();
  test_values();
  mlt_model *model = NULL;
  CHECK(mlt_model_open("/nonexistent.mlmodel", NULL, &model) == MLT_INPUT);
  CHECK(strstr(mlt_last_error(), "/nonexistent.mlmodel") != NULL);
  CHECK(mlt_model_open(NULL, NULL, &model) == MLT_USAGE);
  CHECK(mlt_model_open_memory("nonsense", 8, "n", NULL, &model) == MLT_INPUT);

  CHECK(mlt_model_open_memory(kProgram, strlen(kProgram), "accumulate", NULL, &model) == MLT_OK);
  if (model == NULL) return 1;
  CHECK(strstr(mlt_model_describe(model), "\"x\"") != NULL);

  mlt_state *state = NULL;
  CHECK(mlt_state_new(model, &state) == MLT_OK);
  mlt_features *in = mlt_features_new(), *out = NULL;
  CHECK(mlt_model_predict(model, in, state, &out) == MLT_INPUT);
  const int64_t shape[] = {2};
  const float values[] = {1, 2.5f};
  CHECK(mlt_features_set_array(in, "x", MLT_F32, shape, 1, values) == MLT_OK);
  CHECK(mlt_features_kind(in, "x") == MLT_ARRAY);
  CHECK(mlt_features_set_array(in, "x", (mlt_dtype)99, shape, 1, values) == MLT_USAGE);
  for (int i = 1; i <= 3; ++i) {
    CHECK(mlt_model_predict(model, in, state, &out) == MLT_OK);
    mlt_dtype dtype = MLT_BOOL;
    const int64_t *dims = NULL;
    size_t rank = 0;
    const void *data = NULL;
    CHECK(mlt_features_count(out) == 1 && strcmp(mlt_features_name(out, 0), "y") == 0);
    CHECK(mlt_features_array(out, "y", &dtype, &dims, &rank, &data) == MLT_OK);
    CHECK(dtype == MLT_F32 && rank == 1 && dims[0] == 2);
    CHECK(fabsf(((const float *)data)[1] - 2.5f * (float)i) < 1e-6f);
    CHECK(mlt_features_array(out, "z", &dtype, &dims, &rank, &data) == MLT_USAGE);
    mlt_features_free(out);
  }
  const float *kept = NULL;
  size_t rank = 0;
  CHECK(mlt_state_read(state, "acc", &kept, NULL, &rank) == MLT_OK && rank == 1 && kept[0] == 3);
  CHECK(mlt_state_write(state, "acc", values, 3) == MLT_USAGE);
  CHECK(mlt_state_write(state, "acc", values, 2) == MLT_OK);
  CHECK(mlt_model_predict(model, in, state, &out) == MLT_OK);
  CHECK(strcmp(mlt_features_json(out), "{\"y\": [2, 5]}") == 0);
  mlt_features_free(out);

  /* Bound arrays: what changes in them counts, and the answer is where the caller wants it, in its element type. */
  mlt_binding *binding = NULL;
  float bound_in[2] = {1, 1}, bound_out[2] = {0, 0};
  double wide_out[2] = {0, 0};
  const int64_t three[] = {3};
  CHECK(mlt_binding_new(NULL, &binding) == MLT_USAGE);
  CHECK(mlt_binding_new(model, &binding) == MLT_OK);
  CHECK(mlt_binding_run(binding, state) == MLT_INPUT); /* x is missing */
  CHECK(mlt_binding_input(binding, "x", MLT_F32, three, 1, bound_in) == MLT_OK);
  CHECK(mlt_binding_run(binding, state) == MLT_INPUT); /* and has two elements */
  CHECK(mlt_binding_input(binding, "x", MLT_F32, shape, 1, NULL) == MLT_USAGE);
  CHECK(mlt_binding_input(binding, "x", MLT_F32, shape, 1, bound_in) == MLT_OK);
  CHECK(mlt_binding_output(binding, "z", MLT_F32, shape, 1, bound_out) == MLT_OK);
  CHECK(mlt_binding_run(binding, state) == MLT_USAGE); /* no such output */
  mlt_binding_free(binding);
  CHECK(mlt_binding_new(model, &binding) == MLT_OK);
  CHECK(mlt_binding_input(binding, "x", MLT_F32, shape, 1, bound_in) == MLT_OK);
  CHECK(mlt_binding_output(binding, "y", MLT_F32, shape, 1, bound_out) == MLT_OK);
  CHECK(mlt_binding_run(binding, state) == MLT_OK && bound_out[0] == 3 && bound_out[1] == 6);
  bound_in[1] = -6;
  CHECK(mlt_binding_run(binding, state) == MLT_OK && bound_out[0] == 4 && bound_out[1] == 0);
  CHECK(mlt_binding_output(binding, "y", MLT_F64, shape, 1, wide_out) == MLT_OK);
  CHECK(mlt_binding_run(binding, state) == MLT_OK && wide_out[0] == 5 && wide_out[1] == -6 && bound_out[0] == 4);
  CHECK(mlt_binding_output(binding, "y", MLT_F32, three, 1, bound_out) == MLT_OK);
  CHECK(mlt_binding_run(binding, state) == MLT_INPUT); /* y has two elements */
  mlt_binding_free(binding);

  const char *keys[] = {"a", "b"};
  const double numbers[] = {0.5, 1.5};
  CHECK(mlt_features_set_dict_string(in, "d", keys, numbers, 2) == MLT_OK);
  CHECK(mlt_features_entries(in, "d") == 2 && strcmp(mlt_features_entry_key(in, "d", 1), "b") == 0);
  CHECK(mlt_features_entry_value(in, "d", 1) == 1.5);
  CHECK(mlt_features_entry_key(in, "d", 2) == NULL);
  mlt_features_free(in);
  mlt_state_free(state);
  mlt_model_close(model);
  printf(failures ? "%d failed\n" : "all passed\n", failures);
  return failures != 0;
}
