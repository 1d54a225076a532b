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
#include <random>
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

/// A slot that is whole: what tells whether another one has the same connection.
struct WholeSlot {
  std::array<uint64_t, 2> hash{};  ///< of zone and original
  uint64_t sequence = 0;
  ConnectionFile::Slot slot = 0;
};

std::array<uint64_t, 2> hash_of(const state::Connection& c, uint64_t seed) {
  std::array<uint64_t, 2> out{};
  const auto words = [](const auto& bytes) {
    std::array<uint64_t, 2> w{};
    std::memcpy(w.data(), bytes.data(), sizeof w);
    return w;
  };
  for (size_t i = 0; i < out.size(); ++i) {
    SeededHash h(seed + i);
    for (const auto& w :
         {words(c.zone.device.bytes), words(c.original.src.bytes), words(c.original.dst.bytes)})
      h.add(w[0], w[1]);
    h.add(uint64_t{c.original.src_port} << 16 | c.original.dst_port,
          uint64_t{c.original.protocol} << 8 | static_cast<uint64_t>(c.original.echo));
    out[i] = h.value();
  }
  return out;
}

/// A record as a slot has it.
struct ReadSlot {
  SlotHead head;
  bool other_boot = false;
  state::Connection connection;
};

/// Nothing: it is not whole. `highest`: of the sequences of those that are.
std::optional<ReadSlot> read_slot(ConnectionFile::Slot slot, std::span<const uint8_t> bytes,
                                  const Uuid& boot, MonoTime now, uint64_t& highest) {
  ReadSlot out;
  std::memcpy(&out.head, bytes.data(), sizeof out.head);
  if (out.head.length > state::kMaxWireBytes ||
      out.head.checksum != checksum_of(slot, covered(bytes, out.head.length)))
    return std::nullopt;
  highest = std::max(highest, out.head.sequence);
  out.other_boot = out.head.boot != boot;
  // The record says how long before it was written the last packet was.
  const MonoTime written{out.other_boot ? now.ns : std::min(out.head.written_ns, now.ns)};
  auto c = state::decode(bytes.subspan(sizeof out.head, out.head.length), written);
  if (!c) return std::nullopt;
  out.connection = std::move(*c);
  if (out.other_boot) out.connection.last_seen = now;
  return out;
}

/// Shows the bytes of each slot, in their order.
Result<void> for_each_slot(
    int fd, size_t slots,
    const std::function<void(ConnectionFile::Slot, std::span<const uint8_t>)>& visit) {
  constexpr size_t kAtOnce = 256, kBytes = ConnectionFile::kSlotBytes;
  std::vector<uint8_t> block(kAtOnce * kBytes);
  for (size_t first = 0; first < slots; first += kAtOnce) {
    const size_t count = std::min(kAtOnce, slots - first);
    const auto got = read_at(fd, std::span(block).first(count * kBytes), kPage + first * kBytes);
    if (!got) return got.error();
    for (size_t i = 0; (i + 1) * kBytes <= *got; ++i)
      visit(static_cast<ConnectionFile::Slot>(first + i),
            std::span(block).subspan(i * kBytes, kBytes));
  }
  return Ok{};
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

Result<void> ConnectionFile::restore(Opened& opened, MonoTime now, const Restored& restored) {
  const auto size = size_of(fd_.get(), "the file of connections");
  if (!size) return size.error();
  const size_t slots = *size > kPage ? (*size - kPage) / kSlotBytes : 0;
  std::vector<WholeSlot> whole;
  whole.reserve(slots);
  std::vector<Slot> to_empty;
  // Nobody who chooses addresses and ports makes two connections look alike.
  const uint64_t seed = uint64_t{std::random_device{}()} << 32 | std::random_device{}();
  const auto looked =
      for_each_slot(fd_.get(), slots, [&](Slot slot, std::span<const uint8_t> bytes) {
        if (std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; })) return;
        if (const auto read = read_slot(slot, bytes, boot_, now, sequence_)) {
          whole.push_back({hash_of(read->connection, seed), read->head.sequence, slot});
        } else {
          ++opened.torn;
          to_empty.push_back(slot);
        }
      });
  if (!looked) return looked.error();
  // Of two of one connection the later counts: the process ended between writing it and emptying the other.
  std::sort(whole.begin(), whole.end(), [](const WholeSlot& a, const WholeSlot& b) {
    return std::tie(a.hash, b.sequence) < std::tie(b.hash, a.sequence);
  });
  Slot highest = 0;
  std::vector<bool> kept(slots, false);
  size_t count = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    if (i > 0 && whole[i - 1].hash == whole[i].hash) {
      to_empty.push_back(whole[i].slot);
      continue;
    }
    highest = std::max(highest, whole[i].slot);
    kept[whole[i].slot] = true;
    ++count;
  }
  whole = {};
  // No larger than it has to be.
  const size_t needed = count == 0 ? 1 : (highest / kGrowth + 1) * kGrowth;
  if (needed < slots &&
      ::ftruncate(fd_.get(), static_cast<off_t>(kPage + needed * kSlotBytes)) != 0)
    return errno_error("shortening the file of connections", errno);
  if (const auto mapped = map(needed); !mapped) {
    opened.trouble = mapped.error().message;
  } else {
    FileHead head;
    head.host = host_.uuid;
    head.checksum = checksum_of(head);
    std::memcpy(mapped_, &head, sizeof head);
    for (const Slot slot : to_empty)
      if (slot < needed) std::memset(bytes_of(slot).data(), 0, kSlotBytes);
    for (Slot slot = 0; slot < kept.size(); ++slot)
      if (kept[slot]) in_use_[slot] = true;
    std::erase_if(free_, [this](Slot slot) { return in_use_[slot]; });
    used_ = count;
  }
  return for_each_slot(fd_.get(), slots, [&](Slot slot, std::span<const uint8_t> bytes) {
    if (!kept[slot]) return;
    const auto read = read_slot(slot, bytes, boot_, now, sequence_);
    if (!read) return;
    // So that the next start of the agent does not count it as used just then.
    if (read->other_boot && mapped_ != nullptr)
      write(slot, state::encode(read->connection, now), now);
    restored(slot, read->connection);
  });
}

Result<ConnectionFile::Opened> ConnectionFile::open(const std::string& path, const HostId& host,
                                                    const Uuid& boot, MonoTime now, size_t limit,
                                                    const Restored& restored) {
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
  if (const auto done = file->restore(opened, now, restored); !done) return done.error().in(path);
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
