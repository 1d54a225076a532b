// SPDX-License-Identifier: Apache-2.0
#include "store/embedded/store_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/log.h"

namespace plexus::store {
namespace {

// 0: taken, 1: somebody else has it, -1: errno. A lock of the open file description, not of the
// process: closing another descriptor of the same file does not lose it.
int try_lock(int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EAGAIN || errno == EACCES ? 1 : -1;
}

// Opens a file of 8 bytes, making it when it is missing.
Result<UniqueFd> open_cell(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (!fd.valid()) return errno_error("store: opening " + path, errno);
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return errno_error("store: " + path, errno);
  if (st.st_size < 8) {
    const int64_t zero = 0;
    if (pwrite(fd.get(), &zero, sizeof zero, 0) != sizeof zero) {
      return errno_error("store: writing " + path, errno);
    }
  }
  return fd;
}

}  // namespace

std::optional<std::string> unfit_file_system(uint64_t type) {
  // linux/magic.h has some of these only.
  switch (static_cast<uint32_t>(type)) {
    case 0x6969:
      return "NFS";
    case 0x01021997:
      return "9p";
    case 0x517b:
      return "SMB";
    case 0xff534d42:
      return "CIFS";
    case 0xfe534d42:
      return "SMB2";
    case 0x00c36400:
      return "Ceph";
    case 0x5346414f:
      return "AFS";
    case 0x73757245:
      return "Coda";
    case 0x0bd00bd0:
      return "Lustre";
    case 0x47504653:
      return "GPFS";
    default:
      return std::nullopt;
  }
}

std::string describe_process(int64_t pid) {
  std::string text = "pid " + std::to_string(pid);
  // "12 (name) S ...": the name may hold anything, so the last parenthesis ends it.
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat;
  std::getline(file, stat);
  const size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) {
    return text + " (ended)";
  }
  const char state = close + 2 < stat.size() ? stat[close + 2] : '?';
  return text + " (" + stat.substr(open + 1, close - open - 1) +
         (state == 'T' || state == 't' ? ", stopped)" : ")");
}

Result<StoreFiles> StoreFiles::prepare(const std::string& directory, bool create) {
  StoreFiles files;
  std::error_code ec;
  const auto path = std::filesystem::absolute(directory, ec).lexically_normal();
  files.directory_ = path.string();
  while (files.directory_.size() > 1 && files.directory_.back() == '/') files.directory_.pop_back();
  if (!create && !std::filesystem::exists(files.database(), ec)) {
    return Error{ErrorCode::not_found, "store: there is no store in " + files.directory_ +
                                           ": check the address embedded:" + files.directory_};
  }
  // A mistyped address must not become a new, empty store somewhere: what the default needs is made
  // (plexus/store below /var/lib), longer paths are not.
  const auto parent = std::filesystem::path(files.directory_).parent_path();
  if (!std::filesystem::exists(parent, ec) && !std::filesystem::exists(parent.parent_path(), ec)) {
    return Error{ErrorCode::not_found, "store: there is no directory " +
                                           parent.parent_path().string() +
                                           ": check the address embedded:" + files.directory_ +
                                           ", or make the directory"};
  }
  std::filesystem::create_directories(parent, ec);
  if (ec) return errno_error("store: making the directory " + files.directory_, ec.value());
  // All tenants' records are in it.
  if (mkdir(files.directory_.c_str(), 0750) != 0 && errno != EEXIST) {
    return errno_error("store: making the directory " + files.directory_, errno);
  }
  struct statfs fs {};
  if (statfs(files.directory_.c_str(), &fs) != 0) {
    return errno_error("store: " + files.directory_, errno);
  }
  if (auto name = unfit_file_system(static_cast<uint64_t>(fs.f_type))) {
    return Error{ErrorCode::unsupported,
                 "store: " + files.directory_ + " is on " + *name +
                     ", but the embedded store needs a local file system: choose another "
                     "directory, or ZooKeeper for several machines"};
  }
  std::filesystem::create_directory(files.directory_ + "/sessions", ec);
  if (ec) return errno_error("store: making " + files.directory_ + "/sessions", ec.value());
  auto bell = open_cell(files.bell());
  if (!bell.ok()) return bell.error();
  files.bell_ = std::move(*bell);
  auto holder = open_cell(files.directory_ + "/holder");
  if (!holder.ok()) return holder.error();
  files.holder_ = std::move(*holder);
  return files;
}

void StoreFiles::ring(int64_t revision) const {
  // The content is for people; what wakes is the write. If it fails, watchers look once a second.
  [[maybe_unused]] auto n = pwrite(bell_.get(), &revision, sizeof revision, 0);
}

void StoreFiles::note_holder() const {
  const int64_t pid = getpid();
  [[maybe_unused]] auto n = pwrite(holder_.get(), &pid, sizeof pid, 0);
}

int64_t StoreFiles::holder() const {
  int64_t pid = 0;
  if (pread(holder_.get(), &pid, sizeof pid, 0) != sizeof pid) return 0;
  return pid;
}

Result<UniqueFd> StoreFiles::lock_creation(std::chrono::milliseconds patience) const {
  // Its own descriptor: the lock ends with it.
  const std::string path = directory_ + "/holder";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return errno_error("store: opening " + path, errno);
  const auto end = std::chrono::steady_clock::now() + patience;
  while (true) {
    const int taken = try_lock(fd.get());
    if (taken == 0) return fd;
    if (taken < 0) return errno_error("store: locking " + path, errno);
    if (std::chrono::steady_clock::now() >= end) {
      return Error{ErrorCode::unavailable, "store " + directory_ + " is being opened by " +
                                               describe_process(holder()) +
                                               ", which does not get on: continue or end it"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Result<UniqueFd> StoreFiles::start_session(const std::string& id) const {
  // Locked before it gets the name under which others look for dead owners.
  const std::string path = directory_ + "/sessions/" + id;
  const std::string fresh = directory_ + "/sessions/." + id;
  UniqueFd fd(open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
  if (!fd.valid()) return errno_error("store: making " + fresh, errno);
  if (try_lock(fd.get()) != 0) return errno_error("store: locking " + fresh, errno);
  if (rename(fresh.c_str(), path.c_str()) != 0) return errno_error("store: making " + path, errno);
  return fd;
}

Result<std::optional<UniqueFd>> StoreFiles::lock_dead_session(const std::string& id) const {
  const std::string path = directory_ + "/sessions/" + id;
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT) return std::optional<UniqueFd>(UniqueFd());
    return errno_error("store: opening " + path, errno);
  }
  const int taken = try_lock(fd.get());
  if (taken < 0) return errno_error("store: locking " + path, errno);
  if (taken == 1) return std::optional<UniqueFd>();
  return std::optional<UniqueFd>(std::move(fd));
}

void StoreFiles::remove_session(const std::string& id) const {
  unlink((directory_ + "/sessions/" + id).c_str());
}

Result<void> StoreFiles::guard_database() const {
  // SQLite gives -wal and -shm the mode of the database. A file that exists is not opened: closing it would lose the
  // locks that SQLite has on it in this process.
  UniqueFd fresh(open(database().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
  if (fresh.valid()) return Ok{};
  if (errno != EEXIST) return errno_error("store: making " + database(), errno);
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const std::string path = database() + suffix;
    struct stat st {};
    if (stat(path.c_str(), &st) != 0 || st.st_uid != geteuid() || (st.st_mode & S_IRWXO) == 0) {
      continue;
    }
    if (chmod(path.c_str(), st.st_mode & 0770) != 0) {
      log_warn("store", "{} can be read by all users of this machine: chmod: {}", path,
               std::strerror(errno));
    }
  }
  return Ok{};
}

bool StoreFiles::same_database(bool remember) {
  struct stat st {};
  if (stat(database().c_str(), &st) != 0) return false;
  if (remember) {
    database_inode_ = st.st_ino;
    database_device_ = st.st_dev;
  }
  return st.st_ino == database_inode_ && st.st_dev == database_device_;
}

std::optional<Error> StoreFiles::replaced() const {
  struct stat st {};
  if (stat(database().c_str(), &st) == 0 && st.st_ino == database_inode_ &&
      st.st_dev == database_device_) {
    return std::nullopt;
  }
  return Error{ErrorCode::unavailable,
               "store " + directory_ +
                   ": the database was removed or replaced under us: restart this process"};
}

}  // namespace plexus::store
