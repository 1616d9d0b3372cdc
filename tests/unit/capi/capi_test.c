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

int main(void) {
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
