/* mltools: run Core ML models. A small C interface for programs and other languages; libmltools.so.
 *
 *   mlt_model *model;
 *   if (mlt_model_open("cat.mlpackage", NULL, &model) != MLT_OK) { puts(mlt_last_error()); return 1; }
 *   mlt_features *in = mlt_features_new(), *out;
 *   mlt_features_set_file(in, "image", "cat.jpg");
 *   if (mlt_model_predict(model, in, NULL, &out) == MLT_OK) puts(mlt_features_string(out, "classLabel"));
 *   mlt_features_free(out); mlt_features_free(in); mlt_model_close(model);
 *
 * Functions return MLT_OK or a status; mlt_last_error() then has the message (per thread, until the next call of that
 * thread). Pointers handed out live as long as the object they come from is neither changed nor freed. A model serves
 * one prediction at a time; different models may be used from different threads.
 *
 * The interface only grows: functions keep their meaning, structs start with their size. */
#ifndef MLTOOLS_H
#define MLTOOLS_H
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MLT_API __attribute__((visibility("default")))
#else
#define MLT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are the exit statuses of the tools. */
typedef enum {
  MLT_OK = 0,
  MLT_NEGATIVE = 1,    /* a check said no */
  MLT_USAGE = 2,       /* wrong argument */
  MLT_INPUT = 3,       /* missing, damaged or unfitting input */
  MLT_UNSUPPORTED = 4, /* valid, but cannot be run here */
  MLT_RESOURCE = 5,    /* out of memory, limit hit */
  MLT_KEY = 6          /* sealed, and no key */
} mlt_status;

typedef enum {
  MLT_NOTHING = 0,
  MLT_INT64 = 1,
  MLT_DOUBLE = 2,
  MLT_STRING = 3,
  MLT_ARRAY = 4,
  MLT_IMAGE = 5,
  MLT_DICT_STRING = 6, /* string -> double */
  MLT_DICT_INT64 = 7,  /* int64 -> double */
  MLT_LIST_INT64 = 8,
  MLT_LIST_STRING = 9
} mlt_kind;

/* Element types of arrays. */
typedef enum {
  MLT_F16 = 1,
  MLT_F32 = 2,
  MLT_F64 = 3,
  MLT_I8 = 4,
  MLT_I16 = 5,
  MLT_I32 = 6,
  MLT_I64 = 7,
  MLT_U8 = 8,
  MLT_U16 = 9,
  MLT_U32 = 10,
  MLT_BOOL = 11 /* one byte, 0 or 1 */
} mlt_dtype;

typedef enum { MLT_GRAY = 1, MLT_RGB = 2, MLT_BGR = 3 } mlt_pixels;

/* Stretch both axes; crop the centre; pad with black; refuse. */
typedef enum { MLT_FIT_STRETCH = 0, MLT_FIT_CROP = 1, MLT_FIT_PAD = 2, MLT_FIT_REFUSE = 3 } mlt_fit;

typedef struct mlt_model mlt_model;
typedef struct mlt_state mlt_state;
typedef struct mlt_features mlt_features;
typedef struct mlt_binding mlt_binding;

/* Operands of products rounded to bfloat16, which has three digits; sums stay float32. */
typedef enum {
  MLT_BF16_NEVER = 0,
  MLT_BF16_FAST = 1, /* where the processor is faster at it than in float32 */
  MLT_BF16_ALWAYS = 2
} mlt_bf16;

typedef struct {
  size_t size;          /* sizeof(mlt_open_options) */
  const char *function; /* of a multi-function model; NULL: the default one */
  int strict_fp16;      /* round after every float16 op */
  int reference;        /* reference evaluation instead of fast kernels */
  int image_fit;        /* of pictures of another size than the model's: mlt_fit */
  int reserved;         /* 0 */
  int bf16;             /* products with the model's weights in bfloat16: mlt_bf16 */
} mlt_open_options;

MLT_API const char *mlt_version(void);
MLT_API const char *mlt_last_error(void);
/* 0: all cores available to the process. */
MLT_API void mlt_set_threads(int threads);

/* Any container: .mlmodel, .mlpackage, .mlmodelc, MIL text, a zip of these, .zst. options may be NULL. */
MLT_API mlt_status mlt_model_open(const char *path, const mlt_open_options *options, mlt_model **model);
MLT_API mlt_status mlt_model_open_memory(const void *data, size_t size, const char *name, const mlt_open_options *options, mlt_model **model);
/* A package or a compiled model as its files: names[i] is a path in it ("model.mlmodel", "weights/weight.bin"). The
 * contents are copied. */
MLT_API mlt_status mlt_model_open_files(const char *const *names, const void *const *contents, const size_t *sizes, size_t count, const char *name,
                                        const mlt_open_options *options, mlt_model **model);
MLT_API void mlt_model_close(mlt_model *model);
/* JSON: {"kind", "specVersion", "inputs": [{"name", "type", "optional", "shape", "dtype", ...}], "outputs", "states"}. */
MLT_API const char *mlt_model_describe(const mlt_model *model);
/* JSON of the operations of an ML program: {"program": {"functions": {NAME: {"inputs", "block": {"inputs", "operations", "outputs"}}}}}, an
 * operation being {"operator", "inputs": {PARAM: [NAME or null]}, "outputs", "blocks", "cost"}: its estimated part of the function's time, not
 * there for constants. Of a neural network: {"neuralNetwork": {"layers": [{"name", "type", "inputs", "outputs"}]}}. NULL on failure;
 * MLT_UNSUPPORTED for other models. */
MLT_API const char *mlt_model_structure(mlt_model *model);
/* inputs by name, missing optional ones left out. state: NULL for models without. *outputs is the caller's. */
MLT_API mlt_status mlt_model_predict(mlt_model *model, const mlt_features *inputs, mlt_state *state, mlt_features **outputs);

/* Many records at once, for models whose inputs are numbers or float arrays of one shape (tree ensembles, linear models;
 * MLT_UNSUPPORTED for others). A row is the inputs in the order of their description, one after the other, NaN where a
 * value is missing: `width` floats, rows `stride` floats apart. The answers are those of mlt_model_predict, stacked:
 * an array [count, ...] or, for text labels, a list; class probabilities as an array [count, classes] and the list
 * "NAME.keys". */
MLT_API mlt_status mlt_model_predict_rows(mlt_model *model, const float *rows, size_t count, size_t width, size_t stride, mlt_features **outputs);

/* Compiles a model to a directory, whose name must end in .mlmodelc and not be taken. */
MLT_API mlt_status mlt_compile(const char *path, const char *directory);
/* The newest specification version that is known, and the least one that the features of a model (the bytes of an
 * .mlmodel file) allow. */
MLT_API int mlt_newest_spec_version(void);
MLT_API mlt_status mlt_required_spec_version(const void *data, size_t size, int *version);

/* What a model keeps between predictions; fresh and zero-filled. */
MLT_API mlt_status mlt_state_new(const mlt_model *model, mlt_state **state);
MLT_API void mlt_state_free(mlt_state *state);
/* A state's tensor as float32; *data lives until the state is used in a prediction or freed. */
MLT_API mlt_status mlt_state_read(const mlt_state *state, const char *name, const float **data, const int64_t **shape, size_t *rank);
MLT_API mlt_status mlt_state_write(mlt_state *state, const char *name, const float *data, size_t count);

/* Arrays of the caller's, bound once for predictions that look up, make and free nothing: for loops where that counts.
 * `data` must stay where it is until the binding is freed, and inputs may change between runs; outputs need as many
 * elements as the model gives, in any element type. Only of ML programs and neural networks, whose features are arrays
 * (MLT_UNSUPPORTED otherwise). Unset outputs are not handed out; unset inputs must be optional. A model serves one call
 * at a time, and outlives its bindings. */
MLT_API mlt_status mlt_binding_new(mlt_model *model, mlt_binding **binding);
MLT_API void mlt_binding_free(mlt_binding *binding);
MLT_API mlt_status mlt_binding_input(mlt_binding *binding, const char *name, mlt_dtype dtype, const int64_t *shape, size_t rank, const void *data);
MLT_API mlt_status mlt_binding_output(mlt_binding *binding, const char *name, mlt_dtype dtype, const int64_t *shape, size_t rank, void *data);
MLT_API mlt_status mlt_binding_run(mlt_binding *binding, mlt_state *state);

MLT_API mlt_features *mlt_features_new(void);
MLT_API void mlt_features_free(mlt_features *features);
MLT_API size_t mlt_features_count(const mlt_features *features);
MLT_API const char *mlt_features_name(const mlt_features *features, size_t index); /* NULL beyond the end; sorted */
MLT_API mlt_kind mlt_features_kind(const mlt_features *features, const char *name);

/* Setters copy what they are given. */
MLT_API mlt_status mlt_features_set_int64(mlt_features *features, const char *name, int64_t value);
MLT_API mlt_status mlt_features_set_double(mlt_features *features, const char *name, double value);
MLT_API mlt_status mlt_features_set_string(mlt_features *features, const char *name, const char *value);
/* Row-major, dense. */
MLT_API mlt_status mlt_features_set_array(mlt_features *features, const char *name, mlt_dtype dtype, const int64_t *shape, size_t rank, const void *data);
/* [height, width, channels] bytes, rows stride bytes apart. */
MLT_API mlt_status mlt_features_set_image(mlt_features *features, const char *name, mlt_pixels order, int width, int height, size_t stride, const uint8_t *pixels);
/* One channel of [height, width] floats: for GRAYSCALE_FLOAT16 features, which are not scaled to 0..255. */
MLT_API mlt_status mlt_features_set_image_float(mlt_features *features, const char *name, int width, int height, const float *pixels);
/* PNG, JPEG, BMP, PNM or .npy. */
MLT_API mlt_status mlt_features_set_file(mlt_features *features, const char *name, const char *path);
MLT_API mlt_status mlt_features_set_dict_string(mlt_features *features, const char *name, const char *const *keys, const double *values, size_t count);
MLT_API mlt_status mlt_features_set_dict_int64(mlt_features *features, const char *name, const int64_t *keys, const double *values, size_t count);
MLT_API mlt_status mlt_features_set_list_int64(mlt_features *features, const char *name, const int64_t *values, size_t count);
MLT_API mlt_status mlt_features_set_list_string(mlt_features *features, const char *name, const char *const *values, size_t count);

/* Getters fail with MLT_USAGE when there is no such feature or it is of another kind. */
MLT_API mlt_status mlt_features_int64(const mlt_features *features, const char *name, int64_t *value);
MLT_API mlt_status mlt_features_double(const mlt_features *features, const char *name, double *value);
MLT_API const char *mlt_features_string(const mlt_features *features, const char *name); /* NULL on failure */
MLT_API mlt_status mlt_features_array(const mlt_features *features, const char *name, mlt_dtype *dtype, const int64_t **shape, size_t *rank, const void **data);
MLT_API mlt_status mlt_features_image(const mlt_features *features, const char *name, mlt_pixels *order, int *width, int *height, const uint8_t **pixels);
/* MLT_USAGE for pictures of bytes. */
MLT_API mlt_status mlt_features_image_float(const mlt_features *features, const char *name, int *width, int *height, const float **pixels);
MLT_API mlt_status mlt_features_list_int64(const mlt_features *features, const char *name, const int64_t **values, size_t *count);
/* Dictionaries and lists have entries; a list of numbers has values only, a dictionary of int64 keys as decimal text. */
MLT_API size_t mlt_features_entries(const mlt_features *features, const char *name);
MLT_API const char *mlt_features_entry_key(const mlt_features *features, const char *name, size_t index);
MLT_API double mlt_features_entry_value(const mlt_features *features, const char *name, size_t index);
/* The whole record as one line of JSON. */
MLT_API const char *mlt_features_json(const mlt_features *features);

#ifdef __cplusplus
}
#endif
#endif
