#!/bin/bash
git apply "$(cd "$(dirname "$0")" && pwd)/fix.patch"
