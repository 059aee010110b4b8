// Which processor targets the Highway files compile for: AVX-512, AVX2 and the portable baseline. Others cost compile time and give
// nothing here. Include before any hwy header.
#pragma once

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
