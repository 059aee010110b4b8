// Regions: consecutive steps that are divided among threads by the same rows, so that each thread runs all of them over its own rows and
// none waits for another in between. Found once, when a plan is compiled; see RowSplit in backend.h.
#pragma once

#include "runtime/lowering.h"

namespace langevin {

// Groups the steps, made kernels included, into regions, and moves steps that depend on nothing in a region in front of it (which changes the
// order of `steps`, so call it before lifetimes are counted). Steps that are too little work together stay as they are.
void form_regions(Lowered& lowered, const std::vector<DecodedPlan::Output>& outputs);

}  // namespace langevin
