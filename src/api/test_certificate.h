// SPDX-License-Identifier: Apache-2.0
// A self-signed certificate and a client that speaks TLS, for tests.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "api/test_client.h"

namespace plexus::api {

/// Writes a certificate for `name` and its key as PEM files.
inline void write_certificate(const std::string& certificate, const std::string& key,
                              const std::string& name) {
  EVP_PKEY* pair = EVP_EC_gen("P-256");
  X509* x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, pair);
  X509_NAME* subject = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(x, subject);
  X509_sign(x, pair, EVP_sha256());
  FILE* f = std::fopen(certificate.c_str(), "w");
  PEM_write_X509(f, x);
  std::fclose(f);
  f = std::fopen(key.c_str(), "w");
  PEM_write_PrivateKey(f, pair, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(f);
  X509_free(x);
  EVP_PKEY_free(pair);
}

class TlsClient {
 public:
  explicit TlsClient(const ListenAddress& to, int max_version = 0) : socket_(to) {
    context_ = SSL_CTX_new(TLS_client_method());
    // Old versions are offered at all only below the default security level.
    SSL_CTX_set_security_level(context_, 0);
    if (max_version != 0) SSL_CTX_set_max_proto_version(context_, max_version);
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, socket_.fd());
    connected_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] std::string peer_name() const {
    X509* x = SSL_get1_peer_certificate(ssl_);
    char name[100] = "";
    if (x != nullptr)
      X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    X509_free(x);
    return name;
  }
  bool send(std::string_view bytes) {
    return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  /// Everything up to that text, or what came before the end.
  std::string until(std::string_view text) {
    while (seen_.find(text) == std::string::npos) {
      char buffer[4096];
      const int n = SSL_read(ssl_, buffer, sizeof buffer);
      if (n <= 0) break;
      seen_.append(buffer, static_cast<size_t>(n));
    }
    return std::exchange(seen_, {});
  }

 private:
  TestClient socket_;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  bool connected_ = false;
  std::string seen_;
};

}  // namespace plexus::api
