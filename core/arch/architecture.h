#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/attention.h"

namespace headscope {

/// The largest sizes that a config may ask for. They keep hostile files from starting loops or allocations,
/// and every product of sizes below 2^62; no known model comes near them.
namespace limits {
inline constexpr int64_t layers = 1024;
inline constexpr int64_t d_model = int64_t{1} << 20;
inline constexpr int64_t vocab = int64_t{1} << 24;
inline constexpr int64_t context = int64_t{1} << 30;
inline constexpr int64_t heads = 4096;
inline constexpr int64_t head_dim = int64_t{1} << 16;
inline constexpr int64_t projection = int64_t{1} << 24;  ///< heads * dimensions of a head
inline constexpr int64_t mlp_width = int64_t{1} << 24;
inline constexpr int64_t experts = 4096;
inline constexpr int64_t all_experts = int64_t{1} << 16;  ///< of all layers together; each has tensors of its own
}  // namespace limits

enum class Norm { layer_norm, rms_norm };
enum class Activation { gelu, gelu_tanh, silu, relu };
enum class Residual {
  sequential,  ///< x += attn(norm(x)); x += mlp(norm(x))
  parallel     ///< x += attn(norm_a(x)) + mlp(norm_m(x))
};
enum class PositionScheme { none, learned, rope, alibi };

/// How rope's frequencies are changed for long contexts (llama3: Llama 3.1 and later). core/arch/rope.h has the
/// formulas.
struct RopeScaling {
  enum class Kind { none, linear, llama3, yarn, dynamic };
  Kind kind = Kind::none;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_context = 0;          ///< llama3, yarn, dynamic: the context before it was lengthened
  double beta_fast = 32, beta_slow = 1;  ///< yarn: rotations over the original context between which it blends
  double attention_factor = 1;           ///< yarn: multiplies the rotated parts of queries and keys
};

struct Rope {
  RotationStyle style = RotationStyle::rotate_half;
  int64_t dims = 0;  ///< leading dimensions of each head that are rotated; of the rope key in a latent's row
  double base = 10000;
  RopeScaling scaling = {};
};

struct Position {
  PositionScheme scheme = PositionScheme::none;
  Rope rope;                         ///< when scheme is rope
  int64_t learned_offset = 0;        ///< rows skipped at the start of a learned table (OPT: 2)
  std::vector<double> alibi_slopes;  ///< [q_heads] when scheme is alibi; multiplies the key position
  double alibi_scale = 1;            ///< multiplies slope times position (Falcon: 1 / sqrt(key_dim))
  bool alibi_bf16 = false;           ///< slope, position and their product are rounded to bf16 before it
};

/// RMS norms of queries and keys before rope.
enum class QkNorm {
  none,
  per_head,  ///< of each head by itself, one weight of [key_dim] for all (Qwen 3, Gemma 3)
  whole      ///< of all heads together (OLMo 2)
};

/// Multi-head latent attention as it is computed from the cache, in the absorbed form (kv-variants.md 3.7): one row
/// [latent | rope key] per token serves all heads. Head h scores it by [W_UK,h^T content | rotated part] and gives
/// W_UV,h times the mixed latents.
struct Mla {
  int64_t query_rank = 0;      ///< width of the queries' own latent; 0: queries are made from x
  int64_t content_dim = 0;     ///< of a head's query, the part without rope
  int64_t value_dim = 0;       ///< of a head's value, made from the latent
  double norm_epsilon = 1e-6;  ///< of the RMS norms of both latents
};

/// What an owning layer keeps per token.
enum class Stored {
  keys_and_values,
  values_only,  ///< SharedKV: K = rotate(V), rotated when read
  keys_only,    ///< slim attention: V rebuilt from K
  latent        ///< MLA: one row per token, [latent | rope key]; kv_heads 1, value_dim = the latent's size
};

/// The cache of one owning layer.
struct KvStore {
  int64_t layer = 0;  ///< the layer that writes it
  int64_t kv_heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  int64_t window = 0;  ///< 0: all tokens are kept; W: only the last W can be read
  Stored stored = Stored::keys_and_values;
  bool keys_rotated = false;  ///< keys are stored after rope

  /// Numbers stored for one token by design: kv_heads * (key_dim [K stored] + value_dim [V stored]); a latent's
  /// value is the first part of its key, so it counts key_dim alone.
  int64_t elements_per_token() const;
  /// Of `tokens` tokens those that can still be read.
  int64_t kept(int64_t tokens) const { return window > 0 && window < tokens ? window : tokens; }
  /// Width of what follows the latent in its row.
  int64_t rope_key() const { return key_dim - value_dim; }
  /// The first dimension of a key, and of a query that scores it, that rope may turn.
  int64_t rope_offset() const;
};

/// How a mixture of experts chooses, for each token (DeepSeek V2 and V3).
struct Router {
  enum class Score { softmax, sigmoid };
  Score score = Score::softmax;  ///< of router x, over all experts
  bool choice_bias = false;      ///< a bias per expert is added for the choice alone
  int64_t groups = 1;            ///< experts come in groups of equal size, of which
  int64_t groups_active = 1;     ///< the best are open to the choice;
  int64_t group_best = 1;        ///< a group is as good as the sum of its best scores, this many
  bool normalised = false;       ///< the scores of the chosen are divided by their sum
  double scale = 1;              ///< multiplies them after that

  bool operator==(const Router&) const = default;
};

/// The feed-forward part of a layer.
struct Mlp {
  int64_t width = 0;   ///< inner width, of one expert if there are several
  bool gated = false;  ///< down(act(gate(x)) * up(x)) instead of down(act(up(x)))
  bool bias = false;
  Activation activation = Activation::gelu;
  int64_t experts = 1;         ///< more than 1: mixture of experts with a router
  int64_t experts_active = 1;  ///< experts per token
  int64_t shared_width = 0;    ///< inner width of what every token passes beside its experts; 0: none
  Router router;               ///< with more than one expert
};

struct Layer {
  int64_t q_heads = 0;
  int64_t kv_owner = 0;  ///< the layer whose cache this layer reads; its own index when it writes one
  double scale = 1;      ///< multiplies q.k
  int64_t window = 0;    ///< keys a query sees, itself counted; 0: all
  double soft_cap = 0;   ///< on scores; 0: none
  QkNorm qk_norm = QkNorm::none;
  std::optional<Mla> mla;       ///< when, and only when, the cache it reads stores latents
  std::optional<Rope> rope;     ///< of this layer's queries and keys, instead of position.rope
  bool rotate_query = false;    ///< rope is applied to q
  bool rotate_on_read = false;  ///< keys are rotated after reading them from the cache
  bool qkv_bias = false;
  bool output_bias = false;
  bool norm_before = true;  ///< norms at the input of attention and MLP
  bool norm_after = false;  ///< norms at their output (OLMo 2; Gemma 2 has both)
  Residual residual = Residual::sequential;
  bool shared_input_norm = false;  ///< parallel residual with one norm for attention and MLP
  Mlp mlp;
};

/// A decoder-only transformer, as data (design.md 3). Plain values; immutable once a Model holds it.
struct Architecture {
  std::string family;  ///< "gpt2", "llama", ...
  int64_t d_model = 0;
  int64_t vocab_size = 0;
  int64_t context = 0;  ///< largest number of tokens
  Norm norm = Norm::layer_norm;
  double norm_epsilon = 1e-5;
  Position position;
  double embedding_scale = 1;
  double logits_soft_cap = 0;
  bool tied_embeddings = false;
  bool lm_head_bias = false;
  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;
  std::vector<Layer> layers;
  std::vector<KvStore> kv_stores;  ///< one for each owning layer, ascending

  int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
  bool owns_cache(int64_t layer) const { return layers.at(static_cast<size_t>(layer)).kv_owner == layer; }
  /// The cache that `layer` reads: that of its owner.
  const KvStore& store_of(int64_t layer) const;
  /// Whether some layer turns the keys of the store when it reads them.
  bool rotated_on_read(const KvStore&) const;
  /// The rope of `layer`'s queries; keys have that of their owner.
  const Rope& rope_of(int64_t layer) const;
};

/// Checks that the parts agree: every owner owns itself and comes no later than its readers, each owner has one
/// store, KV heads divide query heads, sizes are positive and within `limits`, nothing is rotated twice or
/// without rope, a reader's window fits in what its owner keeps. Throws Error naming the field.
void validate(const Architecture&);

/// The variant in a few words, derived from the values, never stored: "MHA", "GQA-4" (4 KV heads), "MQA",
/// "MLKV 4x3", "CLA-2 MQA", "SharedKV GQA-4", "K=V MHA", "Slim MHA", "MLA", "MLKV 2 on MLA", "GQA-4, window 4096".
/// Where only values are stored: "SharedKV" when keys are rotated from them, "K=V" when no reader rotates them.
///
/// Sharing across layers. CLA and MLKV can describe one and the same owner map (owners 0, 2, 4, ... of 12 layers
/// with one head are CLA-2 MQA and MLKV 6x1), and nothing in the values tells them apart, so the name follows the
/// group: pairs of neighbouring layers (owner when i % 2 == 0) are "CLA-2 ...", the form in which CLA is used;
/// larger groups, spaced as MLKV spaces m owners over L layers (0 and floor(i * L / m)), are "MLKV m x heads";
/// owners at i % f == 0 that are not spaced so (f does not divide L) are "CLA-f ...". Latents of m owners spaced as
/// MLKV's are "MLKV m on MLA", pairs too. Every reader must read the nearest owner at or below it; any other map is
/// said in words: "GQA-2, 20 of 30 layers own KV".
///
/// What differs between layers is joined ("GQA-2 + MQA") or counted ("window 512 in 22 of 26 layers").
std::string variant_name(const Architecture&);

/// "64 experts, 6 a token, in 26 of 27 layers"; empty without a mixture of experts. Of layers whose mixtures differ,
/// the first is told.
std::string experts_text(const Architecture&);

/// Bytes of KV cache that one more token costs while no window is full, all owning layers together.
/// Throws Error when the number does not fit (as does kv_bytes).
int64_t kv_bytes_per_token(const Architecture&, int64_t bytes_per_element);

/// Bytes of KV cache for `batch` sequences of `tokens` tokens; windows stop at W (kv-variants.md 4).
int64_t kv_bytes(const Architecture&, int64_t batch, int64_t tokens, int64_t bytes_per_element);

/// The formula with this model's numbers: "1,280 B per token = 2 x 5 layers x 4 KV heads x 8 x 4 B". Unlike owners
/// are spelled as a sum; stores of one kind have no factor 2 and the sentence says why; windows follow after "; ".
std::string kv_equation(const Architecture&, int64_t bytes_per_element);

/// kv_bytes with its numbers: "52,428,800 B = 8 sequences x 1,280 B a token x 5,120 tokens"; where windows are full:
/// "... x (26,624 B a token x 512 tokens of a window + 4,096 B a token x 1,024 tokens)".
std::string kv_total_equation(const Architecture&, int64_t batch, int64_t tokens, int64_t bytes_per_element);

}  // namespace headscope
