#include "lib/runtime/row_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/base/threads.h"
#include "lib/kernels/decimals.h"
#include "lib/kernels/trees.h"

namespace mlt {
namespace {

constexpr int64_t kValuesAtOnce = int64_t{1} << 19;  // what a buffer holds: it stays in the cache
constexpr int64_t kRowsAtOnce = int64_t{1} << 16;

int64_t rows_at_once(int64_t width) { return std::clamp<int64_t>(kValuesAtOnce / std::max<int64_t>(1, width), 256, kRowsAtOnce); }

std::vector<int64_t> squeezed(const std::vector<int64_t>& dims) {
  std::vector<int64_t> out;
  for (int64_t d : dims)
    if (d != 1) out.push_back(d);
  return out;
}

// Eight decimal digits at once: sums of neighbours, then of pairs, then of fours.
bool eight_digits(uint64_t text) {
  return (((text + 0x4646464646464646u) | (text - 0x3030303030303030u)) & 0x8080808080808080u) == 0;
}
uint32_t digit_sum(uint64_t text) {
  text = text * 10 + (text >> 8);
  return static_cast<uint32_t>((((text & 0x000000FF000000FFu) * 0x000F424000000064u) + (((text >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u)) >> 32);
}

constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

}  // namespace

const char* parse_decimal(const char* start, const char* end, double* value) {
  const char* p = start;
  bool negative = p < end && *p == '-';
  if (negative) ++p;
  uint64_t mantissa = 0;
  const char* digits = p;
  auto read_digits = [&] {
    if constexpr (std::endian::native == std::endian::little) {
      uint64_t text;
      while (end - p >= 8 && (std::memcpy(&text, p, 8), eight_digits(text))) {
        mantissa = mantissa * 100000000 + digit_sum(text - 0x3030303030303030u);
        p += 8;
      }
    }
    while (p < end && *p >= '0' && *p <= '9') mantissa = mantissa * 10 + static_cast<uint64_t>(*p++ - '0');
  };
  read_digits();
  int64_t count = p - digits, exponent = 0;
  if (p < end && *p == '.') {
    const char* fraction = ++p;
    read_digits();
    exponent = fraction - p;
    count += p - fraction;
  }
  if (count == 0) return nullptr;
  if (p < end && (*p == 'e' || *p == 'E')) {
    const char* q = p + 1;
    bool minus = q < end && *q == '-';
    if (q < end && (*q == '-' || *q == '+')) ++q;
    if (q == end || *q < '0' || *q > '9') return nullptr;
    int64_t given = 0;
    for (; q < end && *q >= '0' && *q <= '9'; ++q) given = std::min<int64_t>(given * 10 + (*q - '0'), 100000);
    exponent += minus ? -given : given;
    p = q;
  }
  // Both the digits and the power are exact then, so one operation rounds once (Clinger 1990). With up to 19 digits the
  // mantissa did not overflow.
  if (count <= 19 && mantissa <= (uint64_t{1} << 53) && exponent >= -22 && exponent <= 22) {
    auto x = static_cast<double>(mantissa);
    x = exponent < 0 ? x / kPowers[-exponent] : x * kPowers[exponent];
    *value = negative ? -x : x;
    return p;
  }
  auto [at, error] = std::from_chars(start, end, *value);
  return error == std::errc() && at == p ? p : nullptr;
}

RowPlan plan_rows(const std::vector<coreml::FeatureDescription>& inputs) {
  RowPlan plan;
  for (const auto& feature : inputs) {
    RowPlan::Input input;
    input.name = feature.name;
    input.offset = plan.width;
    if (feature.type.kind == coreml::FeatureKind::kDouble) {
      input.number = true;
    } else if (feature.type.kind == coreml::FeatureKind::kMultiArray) {
      const coreml::ArrayType& array = feature.type.array;
      DType dtype = array.dtype().value_or(DType::kF64);
      auto count = element_count(array.shape);
      if (array.flexibility != coreml::Flexibility::kFixed || array.shape.empty() || !count.ok() || *count < 1 || *count > (int64_t{1} << 24)) return {};
      if (dtype != DType::kF32 && dtype != DType::kF64) return {};
      input.width = *count;
      input.shape = array.shape;
      input.single = dtype == DType::kF32;
    } else {
      return {};
    }
    plan.width += input.width;
    if (plan.width > (int64_t{1} << 24)) return {};
    plan.inputs.push_back(std::move(input));
  }
  return plan;
}

std::optional<ArrayRows> ArrayRows::make(const std::map<std::string, Tensor>& arrays, const std::map<std::string, RawArray>& raw, const RowPlan& plan) {
  ArrayRows out;
  out.plan_ = plan;
  out.count_ = -1;
  // Arrays that no input reads must fit as well, or the reader of records has something to say.
  auto fits = [&](const Dims& dims) {
    if (dims.empty() || (out.count_ >= 0 && dims[0] != out.count_)) return false;
    out.count_ = dims[0];
    return true;
  };
  for (const auto& [name, tensor] : arrays)
    if (!fits(tensor.dims())) return std::nullopt;
  for (const auto& [name, array] : raw)
    if (!fits(array.dims)) return std::nullopt;
  bool floats = true;
  for (const RowPlan::Input& input : plan.inputs) {
    RawArray source;
    if (auto there = raw.find(input.name); there != raw.end()) {
      source = there->second;
    } else {
      auto it = arrays.find(input.name);
      if (it == arrays.end() || it->second.dtype() == DType::kString) return std::nullopt;
      source = {it->second.dtype(), it->second.dims(), it->second.blob()};
    }
    if (source.dtype != DType::kF32 && source.dtype != DType::kF64) return std::nullopt;
    Dims dims(source.dims.begin() + 1, source.dims.end());
    auto count = element_count(dims);
    if (!count.ok() || *count != input.width || (!input.number && squeezed(dims) != squeezed(input.shape))) return std::nullopt;
    floats = floats && (source.dtype == DType::kF32 || input.single);
    out.sources_.push_back(std::move(source));
  }
  if (out.sources_.empty()) return std::nullopt;
  out.floats_ = floats;
  out.direct_ = out.sources_.size() == 1 && (out.sources_[0].dtype == DType::kF32) == floats;
  return out;
}

Rows ArrayRows::next(int64_t first) {
  Rows rows;
  rows.stride = plan_.width;
  if (direct_) {
    rows.count = std::min(count_ - first, kRowsAtOnce);
    const std::byte* numbers = sources_[0].bytes.bytes().data();
    if (floats_) rows.f32 = reinterpret_cast<const float*>(numbers) + first * plan_.width;
    else rows.f64 = reinterpret_cast<const double*>(numbers) + first * plan_.width;
    return rows;
  }
  rows.count = std::min(count_ - first, rows_at_once(plan_.width));
  auto fill = [&]<typename T>(std::vector<T>& buffer) {
    buffer.resize(static_cast<size_t>(std::max<int64_t>(0, rows.count) * plan_.width));
    parallel_for(rows.count, 64, [&](int64_t begin, int64_t end) {
      // A few rows at a time: each line of the buffer is written while it is near.
      for (int64_t from = begin; from < end; from += 64) {
        int64_t to = std::min(end, from + 64);
        for (size_t k = 0; k < sources_.size(); ++k) {
          const RowPlan::Input& input = plan_.inputs[k];
          auto copy = [&](const auto* source) {
            for (int64_t r = from; r < to; ++r) {
              T* out = buffer.data() + r * plan_.width + input.offset;
              const auto* in = source + (first + r) * input.width;
              for (int64_t i = 0; i < input.width; ++i) out[i] = input.single ? static_cast<T>(static_cast<float>(number_at(in + i))) : static_cast<T>(number_at(in + i));
            }
          };
          const std::byte* numbers = sources_[k].bytes.bytes().data();
          if (sources_[k].dtype == DType::kF32) copy(reinterpret_cast<const float*>(numbers));
          else copy(reinterpret_cast<const double*>(numbers));
        }
      }
    });
    return buffer.data();
  };
  if (floats_) rows.f32 = fill(f32_);
  else rows.f64 = fill(f64_);
  return rows;
}

std::optional<CsvRows> CsvRows::make(const std::vector<CsvColumn>& columns, const RowPlan& plan, const std::vector<coreml::FeatureDescription>& features) {
  CsvRows out;
  out.width_ = plan.width;
  out.floats_ = plan.all_single();
  std::vector<char> given(static_cast<size_t>(plan.width), 0);
  for (const CsvColumn& column : columns) {
    Target target;
    auto input = std::find_if(plan.inputs.begin(), plan.inputs.end(), [&](const auto& i) { return i.name == column.feature; });
    if (input != plan.inputs.end()) {
      int64_t index = 0;
      if (column.keyed) {
        auto [at, error] = std::from_chars(column.key.data(), column.key.data() + column.key.size(), index);
        if (error != std::errc() || at != column.key.data() + column.key.size() || index < 0 || index >= input->width) return std::nullopt;
      }
      if (column.keyed == input->number) return std::nullopt;
      target.at = input->offset + index;
      target.single = input->single;
      if (given[static_cast<size_t>(target.at)]++) return std::nullopt;
    } else {
      if (coreml::find_feature(features, column.feature) != nullptr) return std::nullopt;
      target.checked = column.keyed;
    }
    out.all_checked_ = out.all_checked_ && target.checked;
    out.targets_.push_back(target);
  }
  if (std::find(given.begin(), given.end(), 0) != given.end()) return std::nullopt;
  return out;
}

template <typename T>
bool CsvRows::parse(std::string_view line, const char* text_end, T* row) const {
  const char *p = line.data(), *end = p + line.size();
  auto store = [&](const Target& target, double value) {
    if (target.at >= 0) row[target.at] = target.single ? static_cast<T>(static_cast<float>(value)) : static_cast<T>(value);
  };
  double some[256];
  for (size_t c = 0; c < targets_.size(); ++c) {
    if (all_checked_) {
      const char* stop = p;
      const size_t most = std::min(targets_.size() - c, std::size(some));
      const auto done = static_cast<size_t>(read_decimals(p, text_end, static_cast<int64_t>(most), some, &stop));
      for (size_t i = 0; i < done; ++i) store(targets_[c + i], some[i]);
      c += done;
      if (c == targets_.size()) return stop == end;
      if (done > 0) {
        if (*stop != ',') return false;
        p = stop + 1;
      }
    }
    const Target& target = targets_[c];
    double value = std::numeric_limits<double>::quiet_NaN();
    const char* next = target.checked ? parse_decimal(p, end, &value) : nullptr;
    if (next == nullptr || (next != end && *next != ',')) {
      next = std::find(p, end, ',');
      if (std::find(p, next, '"') != next) return false;
      if (target.checked && next != p) {
        // nan, inf, spaces, hexadecimal: as the reader of records takes them.
        std::string field(p, next);
        char* stop = nullptr;
        value = std::strtod(field.c_str(), &stop);
        while (*stop == ' ') ++stop;
        if (stop == field.c_str() || *stop != '\0') return false;
      } else {
        value = std::numeric_limits<double>::quiet_NaN();
      }
    }
    store(target, value);
    bool last = c + 1 == targets_.size();
    if (last != (next == end)) return false;
    p = next + 1;
  }
  return true;
}

CsvRows::Part CsvRows::next(std::string_view text) {
  int64_t limit = rows_at_once(width_);
  lines_.clear();
  for (const char *p = text.data(), *end = p + text.size(); p < end && static_cast<int64_t>(lines_.size()) < limit;) {
    const auto* stop = static_cast<const char*>(std::memchr(p, '\n', static_cast<size_t>(end - p)));
    if (stop == nullptr) stop = end;
    lines_.emplace_back(p, static_cast<size_t>(stop - p) - (stop > p && stop[-1] == '\r'));
    p = stop == end ? end : stop + 1;
  }
  auto count = static_cast<int64_t>(lines_.size());
  if (floats_) f32_.resize(static_cast<size_t>(count * width_));
  else f64_.resize(static_cast<size_t>(count * width_));
  std::vector<char> bad(lines_.size(), 0);
  const char* text_end = text.data() + text.size();
  parallel_for(count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::string_view line = lines_[static_cast<size_t>(i)];
      bool good = !line.empty() && (floats_ ? parse(line, text_end, f32_.data() + i * width_) : parse(line, text_end, f64_.data() + i * width_));
      bad[static_cast<size_t>(i)] = !good;
    }
  });
  Part part;
  part.rows.count = std::find(bad.begin(), bad.end(), 1) - bad.begin();
  part.stopped = part.rows.count < count;
  part.rows.stride = width_;
  if (floats_) part.rows.f32 = f32_.data();
  else part.rows.f64 = f64_.data();
  if (part.rows.count > 0) {
    std::string_view last = lines_[static_cast<size_t>(part.rows.count - 1)];
    auto stop = static_cast<size_t>(last.data() + last.size() - text.data());
    if (stop < text.size() && text[stop] == '\r') ++stop;
    part.bytes = std::min(text.size(), stop + 1);
  }
  return part;
}

}  // namespace mlt
