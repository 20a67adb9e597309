#!/bin/sh
# Written by Rackhand: changes made here are replaced by the next deploy.
# Starts, at boot, the instances that `current` names.
mkdir -p /run/systemd/system
for app in /opt/rackhand/current/*/; do
    unit=$(readlink "${app}unit") || continue
    name=$(basename "${app%/}")
    cp "${app}release/unit.service" "/run/systemd/system/${unit##*/}" || continue
    if [ -e "${app}release/app.socket" ]; then
        cp "${app}release/app.socket" "/run/systemd/system/rackhand-$name.socket"
        cp "${app}release/app.service" "/run/systemd/system/rackhand-$name.service"
    else
        # Requests may have been told to wait at a socket that systemd held, for a release that has not come.
        instance=${unit##*@}
        own=/run/rackhand-$name/${instance%.service}/app.sock
        [ "$(readlink "${app}app.sock")" = "$own" ] || ln -sfT "$own" "${app}app.sock"
    fi
    set -- "$@" "${unit##*/}"
done
[ $# -eq 0 ] || exec systemctl start --no-block -- "$@"
