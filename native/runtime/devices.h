// Devices by name: "cpu", and "cuda" or "cuda:1" through the plugin (cuda/plugin.h), which is loaded when such a device is first asked for, and only
// where a driver and a GPU are.
#pragma once

#include <string>

#include "runtime/backend.h"

namespace langevin {

// Any thread. Throws CodedError E_DEVICE: a name that is none, or one sentence on what is missing.
Backend& backend_for(const std::string& device);

// For info(): JSON { available, reason, plugin, driver, devices, libraries }: reason (a sentence) where it is not available; plugin the path looked at;
// the rest as the plugin tells. Looks at the driver at the first call.
const std::string& cuda_description();

}  // namespace langevin
