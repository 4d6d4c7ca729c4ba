#!/bin/sh
# A RabbitMQ broker for tests: `install` takes it from the system's packages, `there` says whether it is installed, `run` is a
# private node until it is stopped, or its process group killed: it listens on three ports of 127.0.0.1, keeps everything in
# DIRECTORY, and knows nothing of a RabbitMQ that the system may run.
set -eu

SERVER=/usr/lib/rabbitmq/bin/rabbitmq-server # the one on PATH insists on being the user "rabbitmq"

case "${1:-}" in
  install)
    [ -x "$SERVER" ] && exit 0
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends rabbitmq-server
    ;;
  there)
    [ -x "$SERVER" ]
    ;;
  run)
    mkdir -p "$2"
    cd "$2"
    printf 'listeners.tcp.default = 127.0.0.1:%s\nlog.console = true\n' "$3" > rabbitmq.conf
    : > enabled_plugins
    export HOME="$2" RABBITMQ_NODENAME="relations-$3@localhost" RABBITMQ_NODE_PORT="$3" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
    export RABBITMQ_MNESIA_BASE="$2/mnesia" RABBITMQ_LOG_BASE="$2" RABBITMQ_LOGS=- RABBITMQ_CONFIG_FILE="$2/rabbitmq.conf"
    export RABBITMQ_ENABLED_PLUGINS_FILE="$2/enabled_plugins" RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_PID_FILE="$2/pid"
    export RABBITMQ_DIST_PORT="$4" ERL_EPMD_PORT="$5" ERL_EPMD_ADDRESS=127.0.0.1
    # The node's name server would stay behind as a daemon; here it is our child and ends with us.
    epmd -port "$5" -address 127.0.0.1 &
    exec "$SERVER"
    ;;
  *)
    echo "usage: $0 install | there | run DIRECTORY PORT DIST_PORT EPMD_PORT" >&2
    exit 2
    ;;
esac
