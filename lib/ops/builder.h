// Building ops with inference: converters, lifts and passes create graphs through this.
//
//   OpBuilder b(function, Opset::kCoreML6);
//   ir::Value* y = b.op("conv", {{"x", x}, {"weight", w}, {"strides", b.ints({2, 2})}, {"pad_type", b.string("same")}}, "conv_1");
//
// Errors (unknown op, wrong type) are kept: after the first one op() returns null values' stand-ins, and status()
// says what went wrong; check it once at the end of a group.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "lib/ops/op_def.h"

namespace mlt::ops {

// A parameter with one operand or a tuple of them.
struct Input {
  Input(std::string_view param_name, ir::Value* value) : param(param_name), values{value} {}
  Input(std::string_view param_name, std::vector<ir::Value*> list) : param(param_name), values(std::move(list)), tuple(true) {}
  std::string_view param;
  std::vector<ir::Value*> values;
  bool tuple = false;
};

class OpBuilder {
 public:
  // Appends to `block` (the function's body when null). With set_position, inserts at an index instead.
  OpBuilder(ir::Function& function, Opset opset, ir::Block* block = nullptr);

  ir::Value* op(std::string_view kind, std::vector<Input> inputs, std::string_view name = {});
  std::vector<ir::Value*> ops(std::string_view kind, std::vector<Input> inputs, std::string_view name = {});

  // Constants; small ones of equal value and type made by the same builder in the same block are shared.
  ir::Value* constant(Tensor tensor, std::string_view name = {});
  ir::Value* i32(int64_t value);
  ir::Value* ints(const std::vector<int64_t>& values);
  ir::Value* f32(double value);
  ir::Value* floats(const std::vector<float>& values);
  ir::Value* scalar(DType dtype, double value);  // e.g. in the dtype of another operand
  ir::Value* boolean(bool value);
  ir::Value* bools(const std::vector<bool>& values);
  ir::Value* string(std::string_view value);

  void set_position(size_t index) { position_ = index; }  // each op then goes there and the position moves on
  size_t position() const { return position_; }
  ir::Function& function() { return function_; }
  ir::Block* block() { return block_; }
  Opset opset() const { return opset_; }
  bool ok() const { return !error_.has_value(); }
  Status status() const;

 private:
  ir::Op* place(std::string kind);

  ir::Function& function_;
  Opset opset_;
  ir::Block* block_;
  size_t position_ = static_cast<size_t>(-1);
  std::vector<ir::Value*> shared_constants_;
  std::optional<Error> error_;
};

}  // namespace mlt::ops
