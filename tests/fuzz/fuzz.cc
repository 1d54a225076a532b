// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <unordered_set>

// The sanitizers end in SIGABRT, like our own checks, so that one handler prints the input.
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1";
}
extern "C" const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}

namespace plexus::fuzz {
namespace {

using Random = std::mt19937_64;

std::span<const uint8_t> current;  // the input being run, for the moment of a crash

// One input takes microseconds; what is still running then does not end.
constexpr unsigned kSecondsPerInput = 20;

// Only what is allowed in a signal handler.
void print_current() {
  static constexpr char digits[] = "0123456789abcdef";
  static char line[2 * 65536 + 1];
  size_t n = 0;
  for (const uint8_t byte : current.first(std::min<size_t>(current.size(), 65536))) {
    line[n++] = digits[byte >> 4];
    line[n++] = digits[byte & 15];
  }
  line[n++] = '\n';
  const std::string_view lead = "\ninput of the failure (--input): ";
  if (write(STDERR_FILENO, lead.data(), lead.size()) < 0 || write(STDERR_FILENO, line, n) < 0)
    _exit(3);
}

void on_signal(int number) {
  print_current();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

uint64_t run(const Subject& subject, const Bytes& input) {
  // A copy of its own size: a vector's capacity would hide reads behind the end.
  const auto exact = std::make_unique<uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), exact.get());
  current = {exact.get(), input.size()};
  alarm(kSecondsPerInput);
  const uint64_t reached = subject.run(current);
  alarm(0);
  current = {};
  return reached;
}

size_t below(Random& random, size_t n) {
  return n == 0 ? 0 : static_cast<size_t>(random() % n);
}

void mutate_once(Random& random, const Subject& subject, const std::vector<Bytes>& corpus,
                 Bytes& input) {
  static constexpr uint8_t kEdges[] = {0, 1, 0x7f, 0x80, 0xff, 4, 6, 8, '"', '\\', '\n', ' '};
  const size_t at = below(random, input.size());
  const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random() % 9) {
    case 0:  // flip a bit
      if (!input.empty()) input[at] ^= static_cast<uint8_t>(1u << random() % 8);
      break;
    case 1:  // any byte
      if (!input.empty()) input[at] = static_cast<uint8_t>(random());
      break;
    case 2:  // a byte at the edge of something
      if (!input.empty()) input[at] = kEdges[below(random, std::size(kEdges))];
      break;
    case 3:  // cut the end
      input.resize(at);
      break;
    case 4: {  // cut out
      const size_t n = std::min(input.size() - at, 1 + below(random, 8));
      input.erase(here, here + static_cast<std::ptrdiff_t>(n));
      break;
    }
    case 5: {  // repeat a piece
      const size_t n = std::min(input.size() - at, 1 + below(random, 32));
      const Bytes piece(here, here + static_cast<std::ptrdiff_t>(n));
      input.insert(here, piece.begin(), piece.end());
      break;
    }
    case 6:  // insert a byte
      input.insert(here, static_cast<uint8_t>(random()));
      break;
    case 7:  // insert a word
      if (!subject.words.empty()) {
        const std::string& word = subject.words[below(random, subject.words.size())];
        input.insert(here, word.begin(), word.end());
      }
      break;
    default: {  // go on as another input does
      const Bytes& other = corpus[below(random, corpus.size())];
      const size_t from = std::min(at, other.size());
      input.resize(at);
      input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      break;
    }
  }
  if (input.size() > 16384) input.resize(16384);
}

bool parse_hex(std::string_view text, Bytes& out) {
  if (text.size() % 2 != 0) return false;
  for (size_t i = 0; i < text.size(); i += 2) {
    uint8_t byte = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
    if (error != std::errc{} || end != text.data() + i + 2) return false;
    out.push_back(byte);
  }
  return true;
}

bool parse_count(std::string_view text, uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

/// Every file of the directory, in the order of the names. False when it cannot be read.
bool read_corpus(const std::filesystem::path& directory, std::vector<Bytes>& out) {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream in(path, std::ios::binary);
    out.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    if (!in.good()) return false;
  }
  return !error && !files.empty();
}

bool write_corpus(const std::filesystem::path& directory, const std::vector<Bytes>& seeds) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  for (size_t i = 0; i < seeds.size(); ++i) {
    char name[32];
    std::snprintf(name, sizeof name, "seed-%03zu", i);
    std::ofstream out(directory / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(seeds[i].data()),
              static_cast<std::streamsize>(seeds[i].size()));
    if (!out.flush()) return false;
  }
  return !error;
}

}  // namespace

Bytes bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

void failed(const char* file, int line, const char* what, const std::string& details) {
  std::fprintf(stderr, "%s:%d: not true: %s\n%s\n", file, line, what, details.c_str());
  std::abort();
}

int fuzz_main(int argc, char** argv, const Subject& subject) {
  uint64_t seconds = 10, start = std::random_device{}();
  std::signal(SIGABRT, on_signal);
  std::signal(SIGALRM, on_signal);

  std::vector<Bytes> corpus = subject.seeds;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    Bytes input;
    if (option == "--input" && parse_hex(value, input)) {
      run(subject, input);
      std::puts("no failure");
      return 0;
    }
    if (option == "--write-corpus" && !value.empty())
      return write_corpus(value, subject.seeds) ? 0 : 1;
    if (option == "--corpus" && !value.empty()) {
      if (read_corpus(value, corpus)) continue;
      std::fprintf(stderr, "%s: no corpus in %s\n", argv[0], std::string(value).c_str());
      return 2;
    }
    if (!(option == "--seconds" && parse_count(value, seconds)) &&
        !(option == "--start" && parse_count(value, start))) {
      std::fprintf(
          stderr,
          "usage: %s [--seconds N] [--start N] [--corpus DIR] | --input HEX | --write-corpus DIR\n",
          argv[0]);
      return 2;
    }
  }
  std::printf("start %llu\n", static_cast<unsigned long long>(start));
  std::fflush(stdout);

  Random random(start);
  std::unordered_set<uint64_t> reached;
  for (const Bytes& seed : corpus) reached.insert(run(subject, seed));

  uint64_t runs = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (runs % 64 != 0 || std::chrono::steady_clock::now() < end) {
    Bytes input = corpus[below(random, corpus.size())];
    for (size_t n = 1 + below(random, 4); n > 0; --n) mutate_once(random, subject, corpus, input);
    if (reached.insert(run(subject, input)).second) corpus.push_back(input);
    ++runs;
  }
  std::printf("%llu runs, %zu kinds of behaviour\n", static_cast<unsigned long long>(runs),
              reached.size());
  return 0;
}

}  // namespace plexus::fuzz
