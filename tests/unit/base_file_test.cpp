#include "core/base/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "core/base/atomic_file.h"
#include "core/base/error.h"
#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string open_error(const fs::path& path) {
  return error_of([&] { InputFile file(path); });
}

// ---- reading

TEST(InputFile, reads_any_part) {
  TempFolder folder;
  put_file(folder / "f", "0123456789");
  const InputFile file(folder / "f");
  EXPECT_EQ(file.size(), 10u);
  std::string part(3, ' ');
  file.read_at(4, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "456");
  EXPECT_EQ(file.beginning(4), "0123");
  EXPECT_EQ(file.beginning(400), "0123456789");
}

TEST(InputFile, A20_a_file_that_became_shorter_is_an_error) {
  TempFolder folder;
  put_file(folder / "f", "0123456789");
  const InputFile file(folder / "f");
  ASSERT_EQ(truncate((folder / "f").c_str(), 6), 0);
  std::string part(5, ' ');
  EXPECT_THAT(error_of([&] { file.read_at(4, std::as_writable_bytes(std::span(part))); }),
              AllOf(HasSubstr("became shorter"), HasSubstr("up to byte 9"), HasSubstr("at byte 6")));
}

TEST(InputFile, B1_B22_the_reason_of_the_system_is_given) {
  TempFolder folder;
  EXPECT_THAT(open_error(folder / "none"), AllOf(HasSubstr("none"), HasSubstr("No such file")));
  EXPECT_THAT(open_error(fs::path("/" + std::string(5000, 'x'))), HasSubstr("too long"));
  EXPECT_THAT(open_error(folder / std::string(256, 'x')), HasSubstr("too long"));
}

TEST(InputFile, B19_only_regular_files_are_opened_and_nothing_waits) {
  TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  fs::create_symlink(folder / "fifo", folder / "to_fifo");
  fs::create_symlink(folder / "loop2", folder / "loop1");
  fs::create_symlink(folder / "loop1", folder / "loop2");
  fs::create_directory(folder / "dir");
  fs::create_symlink(folder / "dir", folder / "to_dir");
  const int server = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder / "socket").native().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);

  EXPECT_THAT(open_error(folder / "fifo"), HasSubstr("not a regular file but a pipe"));
  EXPECT_THAT(open_error(folder / "to_fifo"), HasSubstr("not a regular file but a pipe"));
  EXPECT_THAT(open_error(folder / "loop1"), HasSubstr("symbolic links"));
  EXPECT_THAT(open_error(folder / "dir"), HasSubstr("not a regular file but a folder"));
  EXPECT_THAT(open_error(folder / "to_dir"), HasSubstr("not a regular file but a folder"));
  EXPECT_THAT(open_error(folder / "socket"), HasSubstr("not a regular file but a socket"));
  EXPECT_THAT(open_error("/dev/zero"), HasSubstr("not a regular file but a device"));
  close(server);
}

TEST(InputFile, B19_memory_of_a_process_reads_as_an_empty_file) {
  if (!fs::exists("/proc/self/mem")) GTEST_SKIP() << "no /proc here";
  EXPECT_EQ(read_small_file("/proc/self/mem", 1000), "");
}

TEST(InputFile, a_file_beyond_its_limit_is_refused_before_it_is_read) {
  TempFolder folder;
  put_file(folder / "huge", "");
  fs::resize_file(folder / "huge", uint64_t{1} << 40);  // sparse
  std::string message;
  EXPECT_LT(largest_allocation([&] { message = error_of([&] { read_small_file(folder / "huge", 1 << 20); }); }), 4096u);
  EXPECT_THAT(message, AllOf(HasSubstr("too large"), HasSubstr("1.00 TiB"), HasSubstr("1.00 MiB")));
}

// ---- writing

TEST(AtomicFile, appears_whole_and_leaves_nothing_else) {
  TempFolder folder;
  write_file_atomically(folder / "f", "first");
  EXPECT_EQ(file_content(folder / "f"), "first");
  write_file_atomically(folder / "f", "second");
  EXPECT_EQ(file_content(folder / "f"), "second");
  EXPECT_THAT(folder.names(), ElementsAre("f"));
}

TEST(AtomicFile, the_old_content_survives_until_commit) {
  TempFolder folder;
  put_file(folder / "f", "old");
  {
    AtomicFile file(folder / "f");
    EXPECT_EQ(file.temporary().parent_path(), folder.path());
    EXPECT_TRUE(file.temporary().filename().native().starts_with("f.tmp-" + std::to_string(getpid()) + "-"));
    put_file(file.temporary(), "half of the n");
    EXPECT_EQ(file_content(folder / "f"), "old");
  }
  EXPECT_EQ(file_content(folder / "f"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("f"));
}

TEST(AtomicFile, permissions_of_a_replaced_file_are_kept) {
  TempFolder folder;
  put_file(folder / "f", "old");
  fs::permissions(folder / "f", fs::perms(0640));
  write_file_atomically(folder / "f", "new");
  EXPECT_EQ(fs::status(folder / "f").permissions(), fs::perms(0640));
}

TEST(AtomicFile, E2_a_symbolic_link_is_replaced_and_its_target_stays) {
  TempFolder folder;
  put_file(folder / "target", "untouched");
  fs::create_symlink(folder / "target", folder / "link");
  fs::create_symlink(folder / "nowhere", folder / "dangling");
  write_file_atomically(folder / "link", "new");
  write_file_atomically(folder / "dangling", "new");
  EXPECT_EQ(file_content(folder / "target"), "untouched");
  EXPECT_FALSE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(file_content(folder / "link"), "new");
  EXPECT_EQ(file_content(folder / "dangling"), "new");
  EXPECT_FALSE(fs::exists(folder / "nowhere"));
}

TEST(AtomicFile, E2_what_cannot_be_written_is_refused_at_once) {
  TempFolder folder;
  fs::create_directory(folder / "dir");
  put_file(folder / "file", "x");
  const auto refused = [](const fs::path& target) { return error_of([&] { AtomicFile file(target); }); };
  EXPECT_THAT(refused(folder / "dir"), HasSubstr("it is a folder"));
  EXPECT_THAT(refused((folder / "dir").native() + "/"), HasSubstr("names a folder"));
  EXPECT_THAT(refused(folder / "none" / "f"), HasSubstr("there is no folder"));
  EXPECT_THAT(refused(folder / "file" / "f"), HasSubstr("there is no folder"));
  EXPECT_THAT(refused(folder / std::string(256, 'n')), HasSubstr("too long"));
  EXPECT_THAT(refused("/" + std::string(5000, 'n') + "/f"), HasSubstr("there is no folder"));
  EXPECT_THAT(refused("/dev/null"), HasSubstr("not a regular file"));
  EXPECT_THAT(refused("/proc/nothing-can-be-made-here"), AllOf(HasSubstr("no file can be made"), HasSubstr("proc")));
  EXPECT_THAT(refused(""), HasSubstr("names a folder"));
  EXPECT_THAT(folder.names(), ElementsAre("dir", "file"));
}

TEST(AtomicFile, a_name_of_255_bytes_works) {
  TempFolder folder;
  const std::string name(255, 'n');
  write_file_atomically(folder / name, "new");
  EXPECT_THAT(folder.names(), ElementsAre(name));
}

TEST(AtomicFile, E1_a_failing_write_keeps_the_old_file_and_removes_the_temporary) {
  TempFolder folder;
  put_file(folder / "f", "old");
  const std::string large(1 << 20, 'x');
  const auto write_limited = [&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 16, 1 << 16};
    setrlimit(RLIMIT_FSIZE, &limit);
    write_file_atomically(folder / "f", large);
  };
  EXPECT_EQ(outcome_in_child(write_limited), "error");
  EXPECT_EQ(file_content(folder / "f"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("f"));
}

TEST(OutputFile, E1_a_full_disk_is_told_with_needed_and_free_bytes) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  OutputFile file("/dev/full");
  EXPECT_THAT(error_of([&] { file.write("12345"); }),
              AllOf(HasSubstr("No space left"), HasSubstr("5 B more needed"), HasSubstr("free")));
}

TEST(AtomicFile, E3_killed_at_any_time_the_file_is_old_or_new_and_never_mixed) {
  TempFolder folder;
  const std::string old_text(200'000, 'o'), new_text(300'000, 'n');
  write_file_atomically(folder / "f", old_text);
  for (int round = 0; round < 60; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      for (int i = 0;; ++i) write_file_atomically(folder / "f", i % 2 ? old_text : new_text);
    }
    usleep(static_cast<useconds_t>(500 + round * 97));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const std::string found = file_content(folder / "f");
    ASSERT_TRUE(found == old_text || found == new_text) << "round " << round << ", " << found.size() << " bytes";
  }
}

}  // namespace
}  // namespace headscope::test
