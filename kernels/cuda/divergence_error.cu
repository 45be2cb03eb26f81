// How far weights that are recomputed on a GPU may be from exact ones, as the `root_error` of
// kernels/divergence_estimate.h: worst cases, no statistics.
//
// With u = 2^-24, B = |scale| |q| |k|, d = key_dim, R = |row_max| + |log_sum| relative to the query's position, and W
// the largest |key_log_weight|, a weight e^x is off by the factor e^D, where D is at most, in u,
//   <q, k> of B: the tensor cores cut each product, and the sum so far, off at 2^-23 = 2 u of the largest of them. Of
//     one plane, whose sum goes on over all steps of 16 numbers: 2 (d + steps). Of several, each step has a sum of its
//     own, which is of at most |q| |k| within the step, and these add up to no more than |q| |k|: 2 (16 + 1) for each
//     pair of planes, once, and a rounding for each step that is added. What is left out is below 1;
//   B: 1 of the scale; 8 more if a soft-cap, an ALiBi term or both follow (tanhf is within 2 units in the last place);
//     4 of keys that are rotated when they are read: both elements of a pair take 2 roundings of at most its norm;
//   5 of |x| + R + W: the terms of the score, row_max and log_sum taken off, and their own rounding;
//   2 of |x|: log2(e), and the product with it;
//   4: exp2_fast; 8 where its result is the square root of the weight. Weights below 2^-126 are 0.
// The forward pass that wrote row_max and log_sum saw the same scores to the bit (multiply_rows, score_of), so what <q,
// k> and B are off by counts once: if scores s + c e go from exact ones, c = 0, to those at hand, c = 1, the roots of
// their softmax move on the unit sphere with half the standard deviation of e as their speed, so by half the largest
// |e| in all. The other errors the forward pass made again. It adds the weights of a tile of up to 64 keys in f32, 64
// roundings at most, and those of tiles in double; where row_max rises, 6 for each tile, which has 16 keys or more.
// Under the weights, |x| has an L2 norm of at most ln(kv_len) + 1.
#include <algorithm>

#include "kernels/cuda/divergence_plan.cuh"
#include "kernels/cuda/tuning.h"

namespace headscope::cuda {
namespace {

constexpr int threads = 128;
constexpr int64_t most_key_blocks = 64;
static_assert(tuning::forward_keys <= 64 && tuning::few_rows_keys <= 64, "the 64 roundings of a tile above");
constexpr float rounding_up = 1.001F;  ///< a sum of squares of 576 numbers in f32 is as much too low at most

struct ErrorParams {
  DivergenceInputs in;
  DivergenceReaders readers;
  WeightErrors errors;
  KeyRange keys;  ///< that any row of the request sees
};

HEADSCOPE_DEVICE float square(const RowReader& reader, const GlobalRow& row, int64_t position) {
  float sum = 0;
  for (int64_t dim = 0; dim < reader.dims; dim += piece) {
    float numbers[piece];
    reader.read(numbers, row, position, dim);
    for (const float number : numbers) sum += number * number;
  }
  return sum * rounding_up;
}

HEADSCOPE_DEVICE float largest_of_warp(float value) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

/// The largest |k|^2 and |key_log_weight| of what a head's rows see; y is the head. NaN does not count: rows that see
/// it have a NaN row_max.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(threads, 4) measure_keys(ErrorParams p) {
  const AttentionProblem& problem = p.in.problem;
  const int64_t head = block_index().y, stride = int64_t{grid_blocks().x} * threads;
  const float* weights = problem.key_log_weight ? problem.key_log_weight + head * problem.kv_len : nullptr;
  float largest = 0, log_weight = 0;
  for (int64_t key = p.keys.begin + block_index().x * threads + thread_index(); key < p.keys.end; key += stride) {
    if (weights && weights[key] == minus_infinity()) continue;
    largest = fmaxf(largest, square(p.readers.keys, key_numbers(p.in, p.in.kv_head(head), key), key));
    if (weights) log_weight = fmaxf(log_weight, fabsf(weights[key]));
  }
  largest = largest_of_warp(largest);
  log_weight = largest_of_warp(log_weight);
  if (lane_index() != 0) return;
  atomic_max(p.errors.largest + 2 * head, bits_of_float(largest));
  atomic_max(p.errors.largest + 2 * head + 1, bits_of_float(log_weight));
}

/// At least (e^x - 1)^2.
HEADSCOPE_DEVICE double root_factor(double x) {
  return x < 1 ? x * x * (1 + x) * (1 + x) : static_cast<double>(__builtin_inff());
}

/// What <q, k> is off by, of |q| |k| and in u.
HEADSCOPE_DEVICE double product_roundings(const AttentionProblem& p) {
  const int queries = planes_of(p.q.element), keys = key_planes_of(p);
  const int64_t steps = (p.key_dim + 15) / 16;
  if (queries * keys == 1) return static_cast<double>(2 * (p.key_dim + steps) + 1);
  int pairs = 0;
  for (int i = 0; i < queries; ++i) pairs += i + keys <= 3 ? keys : 3 - i;
  return static_cast<double>(2 * pairs * (16 + 1) + steps + 1);
}

/// One row's part of the square of the root error.
HEADSCOPE_DEVICE double row_error(const ErrorParams& p, int64_t head, int64_t row) {
  const AttentionProblem& problem = p.in.problem;
  const double row_max = p.in.row_max[p.in.at(head, row)], log_sum = p.in.log_sum[p.in.at(head, row)];
  if (row_max != row_max || log_sum != log_sum) return row_max + log_sum;
  if (row_max == static_cast<double>(minus_infinity())) return 0;
  const double keys = float_of_bits(p.errors.largest[2 * head]), weight = float_of_bits(p.errors.largest[2 * head + 1]);
  const double queries = square(p.readers.queries, query_numbers(p.in, head, row), 0);
  const double score = fabs(double{problem.scale}) * sqrt(queries * keys);
  const QueryRow query = query_row(problem, head, row);
  const double shift = fabs(row_max - double{query.slope} * static_cast<double>(query.position));
  const double products = product_roundings(problem) + (problem.key_rotation.cosines ? 13 : 9);
  const double length = log(static_cast<double>(problem.kv_len)) + 1;
  const auto rises = static_cast<double>((problem.kv_len + 15) / 16);
  const double roundings = products * score + 10 * (shift + fabs(log_sum) + weight) + 14 * length + 76 + 6 * rises;
  const double factor = root_factor(roundings * 0x1p-25) + static_cast<double>(problem.kv_len) * 0x1p-126;
  return factor == factor ? factor : static_cast<double>(__builtin_inff());
}

/// The root error of a head, one block each. NaN if a row's row_max or log_sum is NaN; infinite if nothing can be said,
/// as of keys that are not finite.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(threads, 4) measure_rows(ErrorParams p) {
  const DivergenceRequest& request = p.in.request;
  const int64_t head = block_index().x;
  auto* sums = reinterpret_cast<double*>(shared_memory());
  double sum = 0;
  for (int64_t row = request.row_begin + thread_index(); row < request.row_end; row += threads) {
    sum += row_error(p, head, row);
  }
  sums[thread_index()] = sum;
  block_barrier();
  if (thread_index() != 0) return;
  for (int i = 1; i < threads; ++i) sum += sums[i];
  p.errors.roots[head] = sqrt(sum / static_cast<double>(request.row_end - request.row_begin));
}

/// The range begins and ends later with every row, but one that sees nothing has none.
KeyRange keys_of(const DivergenceInputs& in) {
  KeyRange keys;
  for (int64_t row = in.request.row_begin; keys.empty() && row < in.request.row_end; ++row) {
    keys = visible_keys(in.problem, row);
  }
  for (int64_t row = in.request.row_end; row-- > in.request.row_begin;) {
    const KeyRange last = visible_keys(in.problem, row);
    if (last.empty()) continue;
    keys.end = last.end;
    break;
  }
  return keys;
}

}  // namespace

bool start_weight_errors(const DivergenceInputs& in, const WeightErrors& errors, PacedLaunches& launches) {
  const KeyRange keys = keys_of(in);
  const ErrorParams params{in, DivergenceReaders::of(in.problem), errors, keys};
  const auto heads = static_cast<unsigned>(in.problem.q_heads);
  const int64_t blocks = std::min((keys.end - keys.begin + threads - 1) / threads, most_key_blocks);
  launches.clear("largest keys, cleared", errors.largest, 2 * heads * sizeof(uint32_t));
  if (blocks > 0 &&
      !launches.start("largest keys", measure_keys, {static_cast<unsigned>(blocks), heads}, threads, 0, params, 0)) {
    return false;
  }
  return launches.start("weight errors", measure_rows, {heads}, threads, threads * sizeof(double), params, 0);
}

}  // namespace headscope::cuda
