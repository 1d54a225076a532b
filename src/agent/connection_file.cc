// SPDX-License-Identifier: Apache-2.0
#include "agent/connection_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "base/check.h"
#include "flow/seeded_hash.h"
#include "state/connection_wire.h"

namespace plexus::agent {
namespace {

constexpr size_t kPage = 4096;
constexpr std::array<char, 8> kMagic{'p', 'l', 'e', 'x', 'c', 'o', 'n', 'n'};
constexpr uint32_t kFormat = 1;

struct FileHead {
  std::array<char, 8> magic = kMagic;
  uint32_t format = kFormat;
  uint32_t slot_bytes = ConnectionFile::kSlotBytes;
  Uuid host;
  uint64_t checksum = 0;
};
static_assert(sizeof(FileHead) == 40);

struct SlotHead {
  uint64_t checksum = 0;  ///< zero, like everything else: empty
  uint64_t sequence = 0;
  int64_t written_ns = 0;
  Uuid boot;
  uint32_t length = 0;
  uint32_t zero = 0;
};
static_assert(sizeof(SlotHead) == 48);
static_assert(sizeof(SlotHead) + state::kMaxWireBytes <= ConnectionFile::kSlotBytes);

/// Tells what was written whole from what was not; it keeps nobody from forging.
uint64_t checksum_of(uint64_t number, std::span<const uint8_t> bytes) {
  SeededHash h(number);
  h.add(bytes.size());
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
    h.add(word);
  }
  const uint64_t sum = h.value();
  return sum == 0 ? 1 : sum;
}

uint64_t checksum_of(const FileHead& head) {
  return checksum_of(0, {reinterpret_cast<const uint8_t*>(&head), offsetof(FileHead, checksum)});
}

/// What a slot's checksum covers.
std::span<const uint8_t> covered(std::span<const uint8_t> slot, uint32_t length) {
  return slot.subspan(sizeof(SlotHead::checksum),
                      sizeof(SlotHead) - sizeof(SlotHead::checksum) + length);
}

Result<size_t> size_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno_error(path, errno);
  return static_cast<size_t>(status.st_size);
}

/// As many bytes as there are, at most those of `into`.
Result<size_t> read_at(int fd, std::span<uint8_t> into, size_t offset) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n =
        ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("reading the file of connections", errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

enum class Whose : uint8_t { ours, nobodys, foreign };

Result<Whose> whose(int fd, const HostId& host, const std::string& path) {
  const auto size = size_of(fd, path);
  if (!size) return size.error();
  if (*size == 0) return Whose::nobodys;
  FileHead head;
  const auto got = read_at(fd, {reinterpret_cast<uint8_t*>(&head), sizeof head}, 0);
  if (!got) return got.error();
  const bool ours = *got == sizeof head && head.magic == kMagic && head.format == kFormat &&
                    head.slot_bytes == ConnectionFile::kSlotBytes && head.host == host.uuid &&
                    head.checksum == checksum_of(head);
  return ours ? Whose::ours : Whose::foreign;
}

Result<UniqueFd> open_locked(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("locking " + path, errno);
    return Error{ErrorCode::in_use, path + " is in use by another process: end that one first"};
  }
  return fd;
}

/// A slot that is whole, without its place in the file.
struct WholeSlot {
  ConnectionFile::Slot slot = 0;
  uint64_t sequence = 0;
  bool other_boot = false;
  state::Connection connection;
};

bool same_connection(const state::Connection& a, const state::Connection& b) {
  return a.zone == b.zone && a.original == b.original;
}

}  // namespace

ConnectionFile::ConnectionFile(UniqueFd fd, const HostId& host, const Uuid& boot, size_t limit)
    : fd_(std::move(fd)), host_(host), boot_(boot), limit_(limit) {}

ConnectionFile::~ConnectionFile() {
  if (mapped_ != nullptr) ::munmap(mapped_, mapped_bytes_);
}

std::span<uint8_t> ConnectionFile::bytes_of(Slot slot) {
  return {mapped_ + kPage + size_t{slot} * kSlotBytes, kSlotBytes};
}

Result<void> ConnectionFile::map(size_t slots) {
  const size_t bytes = kPage + slots * kSlotBytes;
  // Every byte has its place on the disk before anybody writes to it: otherwise a full disk is a SIGBUS.
  if (const int failed = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(bytes)); failed != 0)
    return errno_error("room for connections on the disk", failed);
  void* mapped = mapped_ == nullptr
                     ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0)
                     : ::mremap(mapped_, mapped_bytes_, bytes, MREMAP_MAYMOVE);
  if (mapped == MAP_FAILED) return errno_error("mapping the file of connections", errno);
  mapped_ = static_cast<uint8_t*>(mapped);
  mapped_bytes_ = bytes;
  // The lowest are given first.
  for (size_t s = slots; s > in_use_.size(); --s) free_.push_back(static_cast<Slot>(s - 1));
  in_use_.resize(slots, false);
  return Ok{};
}

Result<void> ConnectionFile::restore(Opened& opened, MonoTime now) {
  const auto size = size_of(fd_.get(), "the file of connections");
  if (!size) return size.error();
  const size_t slots = *size > kPage ? (*size - kPage) / kSlotBytes : 0;
  std::vector<WholeSlot> whole;
  std::vector<Slot> to_empty;
  std::vector<uint8_t> block(256 * kSlotBytes);
  for (size_t first = 0; first < slots; first += 256) {
    const size_t count = std::min<size_t>(256, slots - first);
    const auto got =
        read_at(fd_.get(), std::span(block).first(count * kSlotBytes), kPage + first * kSlotBytes);
    if (!got) return got.error();
    for (size_t i = 0; (i + 1) * kSlotBytes <= *got; ++i) {
      const std::span<const uint8_t> bytes = std::span(block).subspan(i * kSlotBytes, kSlotBytes);
      const auto slot = static_cast<Slot>(first + i);
      if (std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; })) continue;
      SlotHead head;
      std::memcpy(&head, bytes.data(), sizeof head);
      const bool is_whole = head.length <= state::kMaxWireBytes &&
                            head.checksum == checksum_of(slot, covered(bytes, head.length));
      sequence_ = is_whole ? std::max(sequence_, head.sequence) : sequence_;
      const bool other_boot = head.boot != boot_;
      // The record says how long before it was written the last packet was.
      const MonoTime written{other_boot ? now.ns : std::min(head.written_ns, now.ns)};
      auto c = is_whole ? state::decode(bytes.subspan(sizeof head, head.length), written)
                        : Result<state::Connection>(Error{});
      if (!c) {
        ++opened.torn;
        to_empty.push_back(slot);
        continue;
      }
      if (other_boot) c->last_seen = now;
      whole.push_back({slot, head.sequence, other_boot, std::move(*c)});
    }
  }
  // Of two of one connection the later counts: the process ended between writing it and emptying the other.
  std::sort(whole.begin(), whole.end(), [](const WholeSlot& a, const WholeSlot& b) {
    return std::tie(a.connection.zone, a.connection.original, b.sequence) <
           std::tie(b.connection.zone, b.connection.original, a.sequence);
  });
  Slot highest = 0;
  std::vector<size_t> kept;
  for (size_t i = 0; i < whole.size(); ++i) {
    if (!kept.empty() && same_connection(whole[kept.back()].connection, whole[i].connection)) {
      to_empty.push_back(whole[i].slot);
      continue;
    }
    highest = std::max(highest, whole[i].slot);
    kept.push_back(i);
    opened.connections.push_back({whole[i].slot, whole[i].connection});
  }
  // No larger than it has to be.
  const size_t needed = kept.empty() ? 1 : (highest / kGrowth + 1) * kGrowth;
  if (needed < slots &&
      ::ftruncate(fd_.get(), static_cast<off_t>(kPage + needed * kSlotBytes)) != 0)
    return errno_error("shortening the file of connections", errno);
  if (const auto mapped = map(needed); !mapped) {
    opened.trouble = mapped.error().message;
    return Ok{};
  }
  FileHead head;
  head.host = host_.uuid;
  head.checksum = checksum_of(head);
  std::memcpy(mapped_, &head, sizeof head);
  for (const Slot slot : to_empty)
    if (slot < needed) std::memset(bytes_of(slot).data(), 0, kSlotBytes);
  for (const size_t i : kept) {
    in_use_[whole[i].slot] = true;
    // So that the next start of the agent does not count it as used just then.
    if (whole[i].other_boot) write(whole[i].slot, state::encode(whole[i].connection, now), now);
  }
  std::erase_if(free_, [this](Slot slot) { return in_use_[slot]; });
  used_ = kept.size();
  return Ok{};
}

Result<ConnectionFile::Opened> ConnectionFile::open(const std::string& path, const HostId& host,
                                                    const Uuid& boot, MonoTime now, size_t limit) {
  Opened opened;
  auto fd = open_locked(path);
  if (!fd) return fd.error();
  const auto is = whose(fd->get(), host, path);
  if (!is) return is.error();
  if (*is == Whose::foreign) {
    opened.set_aside = path + ".set-aside";
    if (::rename(path.c_str(), opened.set_aside.c_str()) != 0)
      return errno_error("setting aside " + path, errno);
    fd = open_locked(path);
    if (!fd) return fd.error();
  }
  std::unique_ptr<ConnectionFile> file(new ConnectionFile(std::move(*fd), host, boot, limit));
  if (const auto restored = file->restore(opened, now); !restored) return restored.error().in(path);
  if (opened.trouble.empty()) opened.file = std::move(file);
  return opened;
}

void ConnectionFile::write(Slot slot, std::span<const uint8_t> record, MonoTime now) {
  PLEXUS_CHECK(record.size() <= state::kMaxWireBytes, "a record fits into a slot");
  const std::span<uint8_t> bytes = bytes_of(slot);
  SlotHead head;
  head.sequence = ++sequence_;
  head.written_ns = now.ns;
  head.boot = boot_;
  head.length = static_cast<uint32_t>(record.size());
  std::memcpy(bytes.data() + sizeof head, record.data(), record.size());
  std::memcpy(bytes.data(), &head, sizeof head);
  head.checksum = checksum_of(slot, covered(bytes, head.length));
  // The process may end after any store: what counts is that the compiler puts none behind this one.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(bytes.data(), &head.checksum, sizeof head.checksum);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

Result<ConnectionFile::Slot> ConnectionFile::keep(std::optional<Slot> old,
                                                  const state::Connection& connection,
                                                  MonoTime now) {
  if (!old && used_ >= limit_) {
    return Error{ErrorCode::no_space, "the file of connections has " + std::to_string(used_) +
                                          " of " + std::to_string(limit_)};
  }
  if (free_.empty()) {
    const size_t next = (in_use_.size() / kGrowth + 1) * kGrowth;
    if (const auto grown = map(next); !grown) return grown.error();
  }
  const Slot slot = free_.back();
  free_.pop_back();
  write(slot, state::encode(connection, now), now);
  in_use_[slot] = true;
  ++used_;
  if (old) forget(*old);
  return slot;
}

void ConnectionFile::forget(Slot slot) {
  PLEXUS_CHECK(slot < in_use_.size() && in_use_[slot], "a slot in use is emptied");
  std::memset(bytes_of(slot).data(), 0, kSlotBytes);
  in_use_[slot] = false;
  free_.push_back(slot);
  --used_;
}

}  // namespace plexus::agent
