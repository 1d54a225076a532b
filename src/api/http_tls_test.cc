// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "api/http_server.h"
#include "api/test_certificate.h"
#include "store/test_directory.h"

namespace plexus::api {
namespace {

class HttpTlsTest : public testing::Test {
 protected:
  HttpTlsTest() {
    options_.listen.push_back(*ListenAddress::parse("https://127.0.0.1:0"));
    options_.tls_certificate = dir_.path("cert.pem");
    options_.tls_key = dir_.path("key.pem");
    options_.handler = [this](const Request& r) {
      Response out;
      out.body = r.encrypted && r.from_network ? "encrypted for " + r.remote : "open";
      if (r.path == "/stream") {
        out.stream = std::make_shared<BodyStream>(1 << 20);
        out.stream->push("hello");
        stream_ = out.stream;
      }
      return out;
    };
    write_certificate(options_.tls_certificate, options_.tls_key, "first");
  }
  void start() {
    auto server = HttpServer::start(options_);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
    address_ = server_->addresses()[0];
  }

  store::TestDirectory dir_;
  HttpOptions options_;
  std::shared_ptr<BodyStream> stream_;
  ListenAddress address_;
  std::unique_ptr<HttpServer> server_;
};

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

TEST_F(HttpTlsTest, ServesNewVersionsOnly) {
  start();
  EXPECT_EQ(address_.str().find("https://127.0.0.1:"), 0u);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(address_, version);
    ASSERT_TRUE(client.connected()) << version;
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(client.send(kGet));
      EXPECT_EQ(client.until("127.0.0.1").find("HTTP/1.1 200"), 0u);
    }
  }
  EXPECT_FALSE(TlsClient(address_, TLS1_1_VERSION).connected());
  TestClient plain(address_);
  plain.send(kGet);
  EXPECT_EQ(plain.rest().find("HTTP/1.1 200"), std::string::npos);
  EXPECT_TRUE(TlsClient(address_).connected());
}

TEST_F(HttpTlsTest, StreamsWhileItListensForTheEnd) {
  start();
  auto client = std::make_unique<TlsClient>(address_);
  ASSERT_TRUE(client->send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n"));
  EXPECT_NE(client->until("hello").find("hello"), std::string::npos);
  ASSERT_TRUE(stream_->push(std::string(300'000, 'x')));
  ASSERT_TRUE(stream_->push("END"));
  EXPECT_GT(client->until("END").size(), 300'000u);
  client.reset();
  while (!stream_->closed()) std::this_thread::yield();
  while (server_->connections() > 0) std::this_thread::yield();
}

TEST_F(HttpTlsTest, TakesANewCertificateAndKeepsTheOldOneOtherwise) {
  start();
  TlsClient before(address_);
  EXPECT_EQ(before.peer_name(), "first");
  write_certificate(options_.tls_certificate, options_.tls_key, "second");
  ASSERT_TRUE(server_->reload_certificate().ok());
  EXPECT_EQ(TlsClient(address_).peer_name(), "second");
  ASSERT_TRUE(before.send(kGet));
  EXPECT_EQ(before.until("127.0.0.1").find("HTTP/1.1 200"), 0u);
  ::unlink(options_.tls_key.c_str());
  const auto failed = server_->reload_certificate();
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message.find("key.pem"), std::string::npos) << failed.error().message;
  EXPECT_EQ(TlsClient(address_).peer_name(), "second");
}

TEST_F(HttpTlsTest, NeedsACertificate) {
  options_.tls_certificate = dir_.path("none.pem");
  auto missing = HttpServer::start(options_);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("none.pem"), std::string::npos);
  options_.tls_certificate.clear();
  auto none = HttpServer::start(options_);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("needs a certificate"), std::string::npos);
}

}  // namespace
}  // namespace plexus::api
