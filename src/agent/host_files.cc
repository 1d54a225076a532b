// SPDX-License-Identifier: Apache-2.0
#include "agent/host_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace plexus::agent {
namespace {

Result<std::string> read_small_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(path, errno);
  char buffer[4096];
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  if (n < 0) return errno_error(path, errno);
  return std::string(buffer, static_cast<size_t>(n));
}

std::string trimmed(const std::string& text) {
  const auto from = text.find_first_not_of(" \t\r\n");
  if (from == std::string::npos) return "";
  return text.substr(from, text.find_last_not_of(" \t\r\n") - from + 1);
}

std::string starts_path(const std::string& state_dir) {
  return state_dir + "/starts";
}

}  // namespace

Result<void> make_directory(const std::string& path) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  if (failed) return errno_error("making " + path, failed.value());
  return Ok{};
}

Result<void> write_small_file(const std::string& path, const std::string& text) {
  const std::string next = path + ".tmp";
  UniqueFd fd(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return errno_error("writing " + next, errno);
  const ssize_t n = ::write(fd.get(), text.data(), text.size());
  if (n != static_cast<ssize_t>(text.size())) {
    return errno_error("writing " + next, n < 0 ? errno : ENOSPC);
  }
  if (::fsync(fd.get()) != 0) return errno_error("writing " + next, errno);
  if (::rename(next.c_str(), path.c_str()) != 0) return errno_error("writing " + path, errno);
  return Ok{};
}

Result<std::string> machine_id(const std::string& system_file, const std::string& state_dir) {
  if (const auto text = read_small_file(system_file); text && !trimmed(*text).empty()) {
    return trimmed(*text);
  }
  const std::string path = state_dir + "/machine-id";
  if (const auto text = read_small_file(path); text && !trimmed(*text).empty()) {
    return trimmed(*text);
  }
  const std::string made = Uuid::random().str();
  if (auto done = write_small_file(path, made + "\n"); !done) return done.error();
  return made;
}

Result<Uuid> boot_id() {
  const std::string path = "/proc/sys/kernel/random/boot_id";
  std::ifstream in(path);
  std::string text;
  std::getline(in, text);
  const auto id = Uuid::parse(text);
  if (!id) return Error{ErrorCode::unavailable, path + ": no UUID there"};
  return *id;
}

Result<std::string> read_identity(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error("identity file " + path, errno);
  if ((status.st_mode & 077) != 0) {
    return Error{ErrorCode::denied, "identity file " + path +
                                        ": others than its owner may read it; it holds a secret: "
                                        "chmod 600 " +
                                        path};
  }
  const auto text = read_small_file(path);
  if (!text) return text.error();
  const std::string identity = trimmed(*text);
  if (identity.empty()) {
    return Error{ErrorCode::invalid, "identity file " + path + " is empty"};
  }
  return identity;
}

Result<uint32_t> count_start(const std::string& state_dir) {
  uint32_t before = 0;
  if (const auto text = read_small_file(starts_path(state_dir))) {
    const std::string digits = trimmed(*text);
    (void)std::from_chars(digits.data(), digits.data() + digits.size(), before);
  }
  const uint32_t now = before + 1;
  if (auto kept = keep_start_count(state_dir, now); !kept) return kept.error();
  return now;
}

Result<void> keep_start_count(const std::string& state_dir, uint32_t count) {
  return write_small_file(starts_path(state_dir), std::to_string(count) + "\n");
}

Result<UniqueFd> lock_file(const std::string& path, const std::string& what) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.valid()) return errno_error("locking " + path, errno);
  for (int tries = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++tries) {
    if (errno != EWOULDBLOCK && errno != EINTR) return errno_error("locking " + path, errno);
    if (tries >= 20) {
      const auto pid = read_small_file(path);
      return Error{ErrorCode::in_use, what + " is in use by process " +
                                          (pid ? trimmed(*pid) : std::string("?")) +
                                          ", another plexus-agent: end that one first"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return errno_error("writing " + path, errno);
  }
  return fd;
}

}  // namespace plexus::agent
