{
  # node-gyp only delegates: the build itself stands in CMakeLists.txt.
  "targets": [
    {
      "target_name": "langevin",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/langevin.node"],
          "action": ["npm", "run", "build:native"]
        }
      ]
    }
  ]
}
