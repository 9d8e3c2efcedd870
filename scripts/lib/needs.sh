# Sourced: makes sure that commands exist, installing Debian's packages when this is root on Debian.

# need_commands COMMAND:PACKAGE...
need_commands() {
  local pair command package missing=()
  for pair in "$@"; do
    command=${pair%%:*}; package=${pair#*:}
    command -v "$command" > /dev/null || missing+=("$package")
  done
  [ "${#missing[@]}" = 0 ] && return 0
  if [ "$(id --user)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing: ${missing[*]}"
    apt-get update --quiet --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}" > /dev/null
  else
    echo "missing: ${missing[*]}. Install them with your package manager (Rust: https://rustup.rs), then run this again." >&2
    return 1
  fi
}
