# shellcheck shell=bash
# HTTP: large files, small ones, files rendered for the machine that asks, and slow clients beside others.

# shellcheck source=tests/bench/product.sh
. tests/bench/product.sh

MACHINES=1000
# What every server serves; made once.
WWW=$BENCH/www

suite_run() {
    install_packages nginx-light caddy wrk curl zstd
    http_files
    # Everything that asks comes from the address of machine 0 unless it binds another one.
    ip -n "$CLIENT_NS" route replace "$SERVER_IP/32" dev mmb1 src "$CLIENTS_FIRST"
    # Read once, so that no server reads from the disk.
    cat "$WWW/image.img" >/dev/null
    if wanted nginx; then
        server_start nginx nginx -c "$(nginx_conf on)" && http_rows /image.img /small.cfg /ssi/rendered.cfg
    fi
    if wanted nginx-copy; then
        server_start nginx-copy nginx -c "$(nginx_conf off)" && http_rows /image.img /small.cfg /ssi/rendered.cfg
    fi
    if wanted caddy; then
        caddy_conf
        server_start caddy env GOMAXPROCS=1 XDG_DATA_HOME="$RUN" XDG_CONFIG_HOME="$RUN" \
            caddy run --config "$RUN/Caddyfile" --adapter caddyfile
        http_rows /image.img /small.cfg /tmpl/rendered.html
    fi
    if wanted metalman; then
        product_build
        product_start $MACHINES
        http_product_files
        PORT=8880 http_rows /image.img /small.cfg /grub/grub.cfg
    fi
    server_stop
}

http_files() {
    [ -f "$WWW/made" ] && return
    mkdir -p "$WWW"
    head -c 500000000 /dev/urandom >"$WWW/image.img"
    local line="menuentry 'x' { linux /vmlinuz ip=dhcp console=ttyS0,115200 ds=nocloud-net"
    for _ in $(seq 20); do echo "$line }"; done | head -c 1500 >"$WWW/small.cfg"
    # As long as our grub.cfg, with five values in it.
    {
        for _ in $(seq 3); do
            echo 'linux (http,<!--#echo var="SERVER_ADDR" -->)/vmlinuz mac=<!--#echo var="REMOTE_ADDR" --> uri=<!--#echo var="REQUEST_URI" -->'
            for _ in $(seq 8); do echo "$line }"; done
        done
    } >"$WWW/rendered.cfg"
    sed -e 's/<!--#echo var="SERVER_ADDR" -->/{{.Host}}/; s/<!--#echo var="REMOTE_ADDR" -->/{{.RemoteIP}}/; s/<!--#echo var="REQUEST_URI" -->/{{.Req.URL.Path}}/' \
        "$WWW/rendered.cfg" >"$WWW/rendered.html"
    chmod -R a+rX "$WWW"
    touch "$WWW/made"
}

# The same files in the netboot image as it lies unpacked: an image of that size would take minutes to make.
http_product_files() {
    local root
    root=$(dirname "$(find "$STATE/cache" -name shimx64.efi -print -quit)")
    cp "$WWW/image.img" "$WWW/small.cfg" "$root/"
}

nginx_conf() {
    cat >"$RUN/nginx-$1.conf" <<CONF
daemon off; worker_processes 1; pid $RUN/nginx.pid; error_log $RUN/nginx.err; user root;
events { worker_connections 16384; }
http { access_log off; sendfile $1; tcp_nopush on; keepalive_requests 100000000; client_body_temp_path $RUN/b; proxy_temp_path $RUN/p;
  fastcgi_temp_path $RUN/f; uwsgi_temp_path $RUN/u; scgi_temp_path $RUN/s;
  server { listen $SERVER_IP:8080 backlog=8192; root $WWW; default_type application/octet-stream;
    location /ssi/ { alias $WWW/; ssi on; ssi_types *; } } }
CONF
    printf '%s' "$RUN/nginx-$1.conf"
}

caddy_conf() {
    cat >"$RUN/Caddyfile" <<CONF
{
	admin off
	auto_https off
}
http://$SERVER_IP:8080 {
	root * $WWW
	handle_path /tmpl/* {
		templates {
			mime text/html
		}
		file_server
	}
	file_server
}
CONF
}

# http_rows IMAGE SMALL RENDERED: everything, for the server that runs.
http_rows() {
    local port=${PORT:-8080} clients
    step "$SERVER_NAME"
    http_answers "http://$SERVER_IP:$port$2"
    for clients in 1 20 100; do
        image_row "500 MB image, $clients clients" "$1" "$clients" "$port"
    done
    wrk_row '1.5 KB file, 64 connections' "http://$SERVER_IP:$port$2"
    wrk_row 'rendered for the asker, 64 connections' "http://$SERVER_IP:$port$3"
    [ -n "$quick" ] || slow_row "$2" "$port"
}

http_answers() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        ! ip netns exec "$CLIENT_NS" curl -fs -m 1 -o /dev/null "$1" || return 0
        sleep 0.1
    done
    die "$SERVER_NAME does not answer $1"
}

# image_row TITLE PATH CLIENTS PORT. What is compared is the processor time of server and generator together: with many
# readers and full socket buffers the kernel sends the server's data while it handles acknowledgements, on the
# generator's processor, and a server that fills larger buffers would look cheaper than it is.
image_row() {
    local best='' try tries=3
    [ -z "$quick" ] || tries=1
    for ((try = 0; try < tries; try++)); do
        measured . http --server "$SERVER_IP:$4" --path "$2" --clients "$3" --source "$CLIENTS_FIRST" --seconds 4
        best=$(printf '%s\n' "$best" "$MEASURED" | jq -cs 'max_by(.megabytes_per_s // 0)')
    done
    row "$1" "$(jq -c '{mb_s_max: .megabytes_per_s, server_cpu_s_gb: (if .megabytes then .server_cpu_us / 1000 / .megabytes else null end),
        both_cpu_s_gb_min: (if .megabytes then (.server_cpu_us + .generator_cpu_us) / 1000 / .megabytes else null end),
        rss_mb, other}' <<<"$best")" "$(jq -r '.error // ""' <<<"$best")"
}

# wrk_row TITLE URL
wrk_row() {
    local best='' try tries=3 own
    [ -z "$quick" ] || tries=1
    own=$GENERATOR
    for ((try = 0; try < tries; try++)); do
        GENERATOR=$(wrk_json) measured . "$2" 64 4
        best=$(printf '%s\n' "$best" "$MEASURED" | jq -cs 'max_by(.requests_per_s // 0)')
    done
    GENERATOR=$own
    row "$1" "$(jq -c '{req_s_max: .requests_per_s, cpu_us_min: (if .requests then .server_cpu_us / .requests else null end),
        p99_ms: .p99_ms, failed, rss_mb, other}' <<<"$best")" "$(jq -r '.error // ""' <<<"$best")"
}

# wrk_json: a generator that speaks JSON. Arguments: URL CONNECTIONS SECONDS.
wrk_json() {
    cat >"$RUN/wrk.lua" <<'LUA'
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "requests_per_s": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}\n', summary.requests,
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
LUA
    cat >"$RUN/wrk-json" <<SH
#!/bin/bash
wrk -t1 -c "\$2" -d "\$3s" --timeout 10s --latency -s "$RUN/wrk.lua" "\$1" | grep '^{'
SH
    chmod +x "$RUN/wrk-json"
    printf '%s' "$RUN/wrk-json"
}

# slow_row PATH PORT: the small file for ten clients, alone and beside 5 000 connections that are idle or send one
# byte in ten seconds.
slow_row() {
    local own=$GENERATOR alone before after holder
    GENERATOR=$(wrk_json) measured . "http://$SERVER_IP:$2$1" 10 4
    alone=$MEASURED
    before=$(server_rss_mb)
    mkfifo "$RUN/hold"
    generator slow-http --server "$SERVER_IP:$2" --count 5000 --source 198.18.20.0 --sources 500 <"$RUN/hold" >"$RUN/slow.json" 2>"$RUN/slow.err" &
    holder=$!
    exec 7>"$RUN/hold"
    until [ -s "$RUN/slow.json" ] || ! kill -0 $holder 2>/dev/null; do sleep 0.1; done
    after=$(server_rss_mb)
    GENERATOR=$(wrk_json) measured . "http://$SERVER_IP:$2$1" 10 4
    after=$(printf '%s\n' "$after" "$(server_rss_mb)" | sort -n | tail -n 1)
    exec 7>&-
    wait $holder || true
    rm -f "$RUN/hold" "$RUN/slow.json"
    GENERATOR=$own
    row '10 readers beside 5 000 slow connections' "$(jq -cn --argjson alone "$alone" --argjson beside "$MEASURED" --argjson before "$before" --argjson after "$after" \
        '{p99_ms_alone: $alone.p99_ms, p99_ms_min: $beside.p99_ms, p99_ratio: (if $alone.p99_ms then $beside.p99_ms / $alone.p99_ms else null end),
          failed: $beside.failed, rss_mb_more: ($after - $before), other: $beside.other}')" "$(tail -n 1 "$RUN/slow.err" | cut -c1-100)"
}
