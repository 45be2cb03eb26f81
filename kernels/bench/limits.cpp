#include "kernels/bench/limits.h"

// Highway compiles this file once for each vector target by including it again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bench/limits.cpp"
#include "hwy/foreach_target.h"

#include "hwy/highway.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline float sum_of(V a, V b, V c, V d) {
  return hn::GetLane(hn::SumOfLanes(F(), hn::Add(hn::Add(a, b), hn::Add(c, d))));
}

/// Twelve sums: two multiply-adds begin in each cycle and take four to five. x = x * 0.5 + 1 goes to 2 from anywhere;
/// each sum starts elsewhere, or the compiler would see that all are one and the same.
LoopWork fma_loop(int64_t rounds) {
  const F d;
  const V half = hn::Set(d, 0.5F), one = hn::Set(d, 1.0F);
  V a = hn::Set(d, 0.0F), b = hn::Set(d, 0.25F), c = hn::Set(d, 0.5F), e = hn::Set(d, 0.75F);
  V f = hn::Set(d, 1.0F), g = hn::Set(d, 1.25F), h = hn::Set(d, 1.5F), i = hn::Set(d, 1.75F);
  V j = hn::Set(d, 2.25F), k = hn::Set(d, 2.5F), l = hn::Set(d, 2.75F), m = hn::Set(d, 3.0F);
  for (int64_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, half, one);
    b = hn::MulAdd(b, half, one);
    c = hn::MulAdd(c, half, one);
    e = hn::MulAdd(e, half, one);
    f = hn::MulAdd(f, half, one);
    g = hn::MulAdd(g, half, one);
    h = hn::MulAdd(h, half, one);
    i = hn::MulAdd(i, half, one);
    j = hn::MulAdd(j, half, one);
    k = hn::MulAdd(k, half, one);
    l = hn::MulAdd(l, half, one);
    m = hn::MulAdd(m, half, one);
  }
  const auto vectors = static_cast<double>(12 * rounds);
  return {2 * vectors * static_cast<double>(hn::Lanes(d)),
          sum_of(a, b, c, e) + sum_of(f, g, h, i) + sum_of(j, k, l, m)};
}

struct ExpOfKernels {
  static HWY_INLINE V of(V x) { return exp_negative(x); }
};
struct Log2OfKernels {
  static HWY_INLINE V of(V x) { return log2_positive(x); }
};

/// `rounds` times a function of first, first + step, ..., 1,024 values.
template <class Function>
LoopWork value_loop(int64_t rounds, float first, float step_of_values) {
  constexpr int64_t count = 1024;
  const F d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float values[count];
  for (int64_t at = 0; at < count; ++at) values[at] = first + step_of_values * static_cast<float>(at);
  V a = hn::Zero(d), b = a, c = a, e = a;
  for (int64_t round = 0; round < rounds; ++round) {
    for (int64_t at = 0; at < count; at += 4 * step) {
      a = hn::Add(a, Function::of(hn::Load(d, values + at)));
      b = hn::Add(b, Function::of(hn::Load(d, values + at + step)));
      c = hn::Add(c, Function::of(hn::Load(d, values + at + 2 * step)));
      e = hn::Add(e, Function::of(hn::Load(d, values + at + 3 * step)));
    }
  }
  return {static_cast<double>(count * rounds), sum_of(a, b, c, e)};
}

LoopWork exp_loop(int64_t rounds) { return value_loop<ExpOfKernels>(rounds, 0, -20.0F / 1024); }

LoopWork log_loop(int64_t rounds) { return value_loop<Log2OfKernels>(rounds, 1.0F / 1024, 1.0F / 1024); }

LoopWork read_loop(const float* data, int64_t count) {
  const F d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  V a = hn::Zero(d), b = a, c = a, e = a;
  int64_t at = 0;
  for (; at + 4 * step <= count; at += 4 * step) {
    a = hn::Add(a, hn::LoadU(d, data + at));
    b = hn::Add(b, hn::LoadU(d, data + at + step));
    c = hn::Add(c, hn::LoadU(d, data + at + 2 * step));
    e = hn::Add(e, hn::LoadU(d, data + at + 3 * step));
  }
  float sum = sum_of(a, b, c, e);
  for (; at < count; ++at) sum += data[at];
  return {static_cast<double>(count * static_cast<int64_t>(sizeof(float))), sum};
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope {
namespace cpu {

HWY_EXPORT(fma_loop);
HWY_EXPORT(exp_loop);
HWY_EXPORT(log_loop);
HWY_EXPORT(read_loop);

}  // namespace cpu

LoopWork fma_loop(int64_t rounds) { return HWY_DYNAMIC_DISPATCH(cpu::fma_loop)(rounds); }
LoopWork exp_loop(int64_t rounds) { return HWY_DYNAMIC_DISPATCH(cpu::exp_loop)(rounds); }
LoopWork log_loop(int64_t rounds) { return HWY_DYNAMIC_DISPATCH(cpu::log_loop)(rounds); }
LoopWork read_loop(const float* data, int64_t count) { return HWY_DYNAMIC_DISPATCH(cpu::read_loop)(data, count); }

std::vector<std::string> vector_targets() {
  std::vector<std::string> names;
  // A target is one bit; wider vectors have lower bits.
  const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (int64_t target = 1; target != 0 && target <= supported; target <<= 1) {
    if (supported & target) names.emplace_back(hwy::TargetName(target));
  }
  return names;
}

}  // namespace headscope
#endif
