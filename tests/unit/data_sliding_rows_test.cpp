// The cache of a sliding window against a list of all rows.
#include "core/data/sliding_rows.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

namespace headscope {
namespace {

constexpr int64_t width = 3, row_bytes = width * 4;

struct Sliding {
  int64_t window, most, first_capacity = 4;
  std::shared_ptr<MemoryLedger> ledger = std::make_shared<MemoryLedger>();
  SlidingRows rows{ledger, width, window, most, first_capacity};

  /// Row i of the sequence is i, i + 0.5, -i.
  void append(int64_t count) {
    std::vector<float> added;
    for (int64_t i = rows.rows(); i < rows.rows() + count; ++i) {
      for (const float value : {static_cast<float>(i), static_cast<float>(i) + 0.5F, -static_cast<float>(i)}) {
        added.push_back(value);
      }
    }
    rows.append(added.data(), count);
  }

  /// The rows that the newest `count` ones may read are there.
  void expect_readable(int64_t count) const {
    ASSERT_LE(rows.first(), std::max<int64_t>(0, rows.rows() - count - window + 1));
    for (int64_t i = rows.first(); i < rows.rows(); ++i) {
      const auto* row = reinterpret_cast<const float*>(rows.row(i));
      ASSERT_EQ(row[0], static_cast<float>(i));
      ASSERT_EQ(row[1], static_cast<float>(i) + 0.5F);
      ASSERT_EQ(row[2], -static_cast<float>(i));
    }
  }
};

TEST(SlidingRows, HoldsTheWindowAndNoMoreThanItsRoom) {
  std::mt19937 random(5);
  for (const int64_t window : {1, 2, 7, 40}) {
    for (const int64_t most : {1, 5, 64}) {
      Sliding s{window, most};
      while (s.rows.rows() < 400) {
        const auto count = static_cast<int64_t>(random() % static_cast<uint64_t>(most)) + 1;
        s.append(count);
        s.expect_readable(count);
        ASSERT_EQ(s.rows.used_bytes(), std::min(s.rows.rows(), window) * row_bytes)
            << "window " << window << ", " << count << " at once";
        ASSERT_LE(s.rows.capacity(), window + most);
        ASSERT_EQ(s.rows.allocated_bytes(), s.rows.capacity() * row_bytes);
        ASSERT_EQ(s.ledger->bytes(MemoryPurpose::kv), s.rows.allocated_bytes());
      }
    }
  }
}

TEST(SlidingRows, OneByOneTakesLessThanThreeWindowsHoweverManyMayComeAtOnce) {
  Sliding s{20, 1000};
  for (int64_t i = 0; i < 500; ++i) s.append(1);
  EXPECT_LE(s.rows.capacity(), 3 * 20);
  EXPECT_GE(s.rows.capacity(), 2 * 20);
}

TEST(SlidingRows, ALengthThatIsToldMakesRoomForTheWindowAndWhatComesAtOnce) {
  const auto room = [](int64_t told, int64_t first) {
    Sliding s{20, 1000, told};
    s.append(first);
    while (s.rows.rows() < told) s.append(1);
    s.expect_readable(1);
    EXPECT_EQ(s.ledger->peak_bytes(MemoryPurpose::kv), s.rows.allocated_bytes()) << "it has grown";
    return s.rows.capacity();
  };
  EXPECT_EQ(room(500, 5), 20 + 20) << "fewer than a window at once: another window, or it would move too often";
  EXPECT_EQ(room(500, 70), 20 + 70);
  EXPECT_EQ(room(3000, 1000), 20 + 1000);
  EXPECT_EQ(room(33, 5), 33) << "nothing is made beyond the length";
  EXPECT_EQ(room(80, 70), 80);
}

TEST(SlidingRows, WhatIsTakenBackCanBeWrittenAgain) {
  Sliding s{8, 16};
  for (int64_t i = 0; i < 9; ++i) {
    s.append(10);
    s.rows.prepare(16);  // a chunk that fails before it is published
    s.append(6);
    s.rows.truncate(s.rows.rows() - 6);
    ASSERT_EQ(s.rows.used_bytes(), std::min<int64_t>(s.rows.rows(), 8) * row_bytes);
    s.append(6);
    s.expect_readable(6);
  }
}

TEST(SlidingRows, ACopyIsItsOwn) {
  Sliding s{8, 16};
  s.append(13);
  SlidingRows copy = s.rows.copy();
  s.append(16);
  EXPECT_EQ(copy.rows(), 13);
  EXPECT_EQ(*reinterpret_cast<const float*>(copy.row(12)), 12.0F);
  EXPECT_NE(copy.row(copy.first()), s.rows.row(s.rows.first()));
}

TEST(SlidingRows, MoreAtOnceThanItWasMadeForIsABug) {
  Sliding s{8, 16};
  s.append(16);
  EXPECT_THROW(s.rows.prepare(17), std::logic_error);
}

}  // namespace
}  // namespace headscope
