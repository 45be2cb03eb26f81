#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <thread>

#include "core/data/growing_rows.h"

namespace headscope {
namespace {

constexpr int64_t width = 3;

/// Appends rows whose numbers count up from `first`.
void append(GrowingRows& rows, int64_t count, float first) {
  float* target = rows.prepare(count);
  std::iota(target, target + count * width, first);
  rows.publish(count);
}

struct GrowingRowsTest : ::testing::Test {
  std::shared_ptr<MemoryLedger> ledger = std::make_shared<MemoryLedger>();
  GrowingRows rows{ledger, MemoryPurpose::kv, width, 4};
};

TEST_F(GrowingRowsTest, NothingIsAllocatedBeforeTheFirstRow) {
  EXPECT_EQ(rows.allocated_bytes(), 0);
  EXPECT_EQ(ledger->bytes(MemoryPurpose::kv), 0);
  EXPECT_EQ(rows.view().rows, 0);
}

TEST_F(GrowingRowsTest, RowsStandOneAfterTheOther) {
  append(rows, 2, 0);
  append(rows, 1, 6);
  EXPECT_EQ(rows.rows(), 3);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t i = 0; i < width; ++i) EXPECT_EQ(rows.view().row(row)[i], static_cast<float>(row * width + i));
  }
  EXPECT_EQ(rows.used_bytes(), 3 * width * 4);
  EXPECT_EQ(rows.allocated_bytes(), 4 * width * 4);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(rows.view().row(0)) % 64, 0u);
}

TEST_F(GrowingRowsTest, AFullBufferIsCopiedIntoOneHalfAsLargeAgain) {
  append(rows, 4, 0);
  const float* before = rows.view().row(0);
  append(rows, 1, 12);
  EXPECT_NE(rows.view().row(0), before);
  EXPECT_EQ(rows.capacity(), 6);
  EXPECT_EQ(rows.view().row(4)[0], 12);
  EXPECT_EQ(rows.view().row(0)[2], 2);
  append(rows, 20, 100);  // more than half again: exactly what is needed
  EXPECT_EQ(rows.capacity(), 25);
}

TEST_F(GrowingRowsTest, ViewsKeepWhatTheySaw) {
  append(rows, 4, 0);
  const RowsView early = rows.view();
  append(rows, 4, 50);
  EXPECT_EQ(early.rows, 4);
  EXPECT_EQ(early.row(3)[2], 11);
  EXPECT_NE(early.buffer, rows.view().buffer);
}

TEST_F(GrowingRowsTest, AReplacedBufferThatAViewHoldsIsViewerMemory) {
  append(rows, 4, 0);
  const int64_t small = 4 * width * 4, large = 6 * width * 4;
  {
    const RowsView held = rows.view();
    append(rows, 1, 0);
    EXPECT_EQ(ledger->bytes(MemoryPurpose::kv), large);
    EXPECT_EQ(ledger->bytes(MemoryPurpose::viewer), small);
  }
  EXPECT_EQ(ledger->bytes(MemoryPurpose::viewer), 0);
  EXPECT_EQ(ledger->peak_bytes(MemoryPurpose::kv), small + large);  // both lived while rows were copied
}

TEST_F(GrowingRowsTest, TheLedgerForgetsWhatIsReleased) {
  append(rows, 4, 0);
  rows = GrowingRows();
  EXPECT_EQ(ledger->bytes(MemoryPurpose::kv), 0);
}

TEST_F(GrowingRowsTest, TruncatedRowsAreWrittenAgain) {
  append(rows, 2, 0);
  append(rows, 2, 90);
  rows.truncate(2);
  append(rows, 1, 6);
  EXPECT_EQ(rows.rows(), 3);
  EXPECT_EQ(rows.view().row(2)[0], 6);
  rows.truncate(7);  // never adds rows
  EXPECT_EQ(rows.rows(), 3);
}

TEST_F(GrowingRowsTest, PublishingWhatWasNotPreparedIsAFault) {
  append(rows, 4, 0);
  EXPECT_THROW(rows.publish(1), std::logic_error);
}

TEST_F(GrowingRowsTest, SizesBeyondMemoryAreRefused) {
  GrowingRows huge(ledger, MemoryPurpose::kv, int64_t{1} << 40, 1);
  EXPECT_THROW(huge.prepare(int64_t{1} << 30), Error);
}

TEST_F(GrowingRowsTest, ReadersOnOtherThreadsSeePublishedRows) {
  append(rows, 4, 0);
  const RowsView view = rows.view();
  double sum = 0;
  std::jthread reader([&] {
    for (int round = 0; round < 1000; ++round) {
      for (int64_t row = 0; row < view.rows; ++row) sum += view.row(row)[0];
    }
  });
  for (int i = 0; i < 1000; ++i) append(rows, 1, 7);
  reader.join();
  EXPECT_EQ(sum, 1000 * (0 + 3 + 6 + 9));
}

}  // namespace
}  // namespace headscope
