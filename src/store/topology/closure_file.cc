// SPDX-License-Identifier: Apache-2.0
#include "store/topology/closure_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/unique_fd.h"

namespace plexus::store {
namespace {

constexpr std::string_view kMagic = "plexsnap";
constexpr uint32_t kFormat = 1;
constexpr size_t kCrcAt = 12, kBodyAt = 16;
constexpr size_t kCountAt = kBodyAt + 16 + 16 + 8 + 8;
constexpr size_t kHeaderBytes = kCountAt + 4;
constexpr size_t kRecordBytes = 3 + 4 + 16 + 8 + 4;
constexpr off_t kMaxFileBytes = 1 << 30;

/// CRC-32C (RFC 3720, appendix B.4), over what was before and `bytes`.
uint32_t crc32c(uint32_t crc, std::string_view bytes) {
  static const auto kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
      table[i] = c;
    }
    return table;
  }();
  crc = ~crc;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

uint32_t checksum(std::string_view file) {
  return crc32c(crc32c(0, file.substr(0, kCrcAt)), file.substr(kBodyAt));
}

template <typename T>
void put(std::string& out, T value) {
  const auto bits = static_cast<std::make_unsigned_t<T>>(value);
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>((bits >> (8 * i)) & 0xff);
}
template <typename T>
void put_at(std::string& out, size_t at, T value) {
  std::string bytes;
  put(bytes, value);
  out.replace(at, bytes.size(), bytes);
}
void put(std::string& out, const Uuid& id) {
  out.append(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
}

/// Reads forward; the caller has checked that there is enough.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : left_(bytes) {}
  [[nodiscard]] size_t left() const { return left_.size(); }
  template <typename T>
  T number() {
    std::make_unsigned_t<T> value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value |= static_cast<std::make_unsigned_t<T>>(
          static_cast<std::make_unsigned_t<T>>(static_cast<uint8_t>(left_[i])) << (8 * i));
    }
    left_.remove_prefix(sizeof(T));
    return static_cast<T>(value);
  }
  Uuid id() {
    Uuid id;
    std::memcpy(id.bytes.data(), left_.data(), id.bytes.size());
    left_.remove_prefix(id.bytes.size());
    return id;
  }
  std::string_view bytes(size_t n) {
    const auto taken = left_.substr(0, n);
    left_.remove_prefix(n);
    return taken;
  }

 private:
  std::string_view left_;
};

Error damaged(const std::string& how) {
  return Error{ErrorCode::invalid, "is damaged: " + how};
}

Result<std::string> read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(path, errno);
  if (!S_ISREG(status.st_mode) || status.st_size > kMaxFileBytes) {
    return Error{ErrorCode::invalid, path + " is no disk snapshot"};
  }
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(path, errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

Result<void> write_file(const std::string& path, std::string_view bytes) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error("writing " + path, errno);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("writing " + path, errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  // Some file systems say only here that the disk is full.
  if (::fsync(fd.get()) != 0) return errno_error("writing " + path, errno);
  if (::close(fd.release()) != 0) return errno_error("writing " + path, errno);
  return Ok{};
}

}  // namespace

ClosureFileWriter::ClosureFileWriter(HostId host, const Uuid& life, Revision revision,
                                     int64_t taken_ms) {
  bytes_ = kMagic;
  put(bytes_, kFormat);
  put(bytes_, uint32_t{0});
  put(bytes_, host.uuid);
  put(bytes_, life);
  put(bytes_, revision.value);
  put(bytes_, taken_ms);
  put(bytes_, uint32_t{0});
}

void ClosureFileWriter::add(const ClosureKey& key, const std::string* value, int64_t version) {
  put(bytes_, static_cast<uint8_t>(key.kind));
  put(bytes_, static_cast<uint8_t>(key.index));
  put(bytes_, static_cast<uint8_t>(value != nullptr ? 1 : 0));
  put(bytes_, key.bucket);
  put(bytes_, key.id);
  put(bytes_, version);
  put(bytes_, static_cast<uint32_t>(value != nullptr ? value->size() : 0));
  if (value != nullptr) bytes_ += *value;
  ++count_;
}

std::string ClosureFileWriter::finish() {
  put_at(bytes_, kCountAt, count_);
  put_at(bytes_, kCrcAt, checksum(bytes_));
  return std::move(bytes_);
}

Result<ClosureFile> parse_closure_file(std::string_view bytes, HostId self) {
  if (bytes.size() < kHeaderBytes) return damaged("it is shorter than its header");
  Cursor in(bytes);
  if (in.bytes(kMagic.size()) != kMagic) return damaged("it does not begin as a disk snapshot");
  const auto format = in.number<uint32_t>();
  if (const auto crc = in.number<uint32_t>(); crc != checksum(bytes)) {
    // A later format may keep its checksum elsewhere.
    if (format <= kFormat) return damaged("its checksum is wrong");
    return Error{ErrorCode::unsupported,
                 "is damaged, or has a newer format than this agent knows (" +
                     std::to_string(format) + ", known: " + std::to_string(kFormat) + ")"};
  }
  if (format != kFormat) {
    return Error{ErrorCode::unsupported, "has format " + std::to_string(format) +
                                             ", this agent knows " + std::to_string(kFormat)};
  }
  ClosureFile file;
  file.host = HostId{in.id()};
  if (file.host != self) {
    return Error{ErrorCode::invalid, "is of host " + file.host.str() + ", this is " + self.str()};
  }
  file.life = in.id();
  file.revision = Revision{in.number<int64_t>()};
  file.taken_ms = in.number<int64_t>();
  const auto count = in.number<uint32_t>();
  if (count > in.left() / kRecordBytes) return damaged("it counts more records than it holds");
  file.records.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    if (in.left() < kRecordBytes) return damaged("it ends within a record");
    ClosureRecord record;
    const auto kind = in.number<uint8_t>();
    const auto index = in.number<uint8_t>();
    const auto present = in.number<uint8_t>();
    if (kind > static_cast<uint8_t>(ClosureKey::kLastKind) ||
        index > static_cast<uint8_t>(ClosureKey::kLastIndex) || present > 1) {
      return damaged("it holds a record of an unknown kind");
    }
    record.key.kind = static_cast<ClosureKey::Kind>(kind);
    record.key.index = static_cast<ClosureKey::Index>(index);
    record.key.bucket = in.number<uint32_t>();
    record.key.id = in.id();
    record.version = in.number<int64_t>();
    const auto size = in.number<uint32_t>();
    if (size > in.left()) return damaged("it ends within a record");
    const auto value = in.bytes(size);
    if (present == 1) record.value = std::string(value);
    file.records.push_back(std::move(record));
  }
  if (in.left() != 0) return damaged("something follows its last record");
  return file;
}

Result<void> save_closure_file(const std::string& path, std::string_view bytes) {
  const std::string next = path + ".tmp", before = path + ".1";
  if (auto written = write_file(next, bytes); !written) {
    (void)::unlink(next.c_str());
    return written;
  }
  if (::rename(path.c_str(), before.c_str()) != 0 && errno != ENOENT) {
    const Error error = errno_error("keeping " + before, errno);
    (void)::unlink(next.c_str());
    return error;
  }
  if (::rename(next.c_str(), path.c_str()) != 0) return errno_error("writing " + path, errno);
  const auto directory = std::filesystem::path(path).parent_path();
  const UniqueFd fd(
      ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return errno_error("writing " + directory.string(), errno);
  }
  return Ok{};
}

Result<LoadedClosure> load_closure_file(const std::string& path, HostId self,
                                        std::vector<std::string>& refused) {
  Error last{ErrorCode::not_found, "there is no disk snapshot " + path};
  for (const std::string& candidate : {path, path + ".1"}) {
    const auto bytes = read_file(candidate);
    if (!bytes && bytes.error().code == ErrorCode::not_found) continue;
    auto file = bytes ? parse_closure_file(*bytes, self) : Result<ClosureFile>(bytes.error());
    if (file) return LoadedClosure{std::move(*file), candidate};
    last = bytes ? file.error().in(candidate) : file.error();
    refused.push_back(last.message);
  }
  return last;
}

}  // namespace plexus::store
