// SPDX-License-Identifier: Apache-2.0
// Mends what follows from the resources alone: unique values (claims.h), and the facts in the entries of indexes. A store that an
// earlier program wrote may lack them.
#pragma once

#include "base/result.h"
#include "store/store.h"
#include "store/topology/check.h"

namespace plexus::store {

struct Mended {
  size_t records = 0;  ///< written or removed
  CheckReport left;    ///< what is wrong afterwards
};

/// Run it while nobody writes. conflict: somebody did; nothing is worse than before, run it again.
Result<Mended> mend_store(Store& store);

}  // namespace plexus::store
