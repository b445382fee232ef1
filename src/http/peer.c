/* Who is at the other end: this machine or another, directly or through a proxy. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/assert.h"
#include "http/http_priv.h"

bool http_peer_is_loopback(struct http_request *r) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || !info->client_addr) return false;
    const struct sockaddr *a = info->client_addr;
    if (a->sa_family == AF_UNIX) return true;
    if (a->sa_family == AF_INET) return (ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24) == 127;
    if (a->sa_family != AF_INET6) return false;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* Proxies, tunnels and content networks each have a name of their own for it; what they share is found in the middle of the name. */
static void look_for_proxy(void *context, struct str name, struct str value) {
    bool *found = context;
    static const char *const names[] = {"Via", "X-Real-IP", "CDN-Loop", "X-Amzn-Trace-Id"};
    static const char *const pieces[] = {"forwarded", "client-ip", "clientip", "connecting-ip", "proxyuser", "x-envoy-", "tailscale-", "ngrok-", "cf-ray"};
    char lower[64];
    size_t n = name.n < sizeof lower ? name.n : sizeof lower;
    for (size_t i = 0; i < n; i++) lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, str_of(names[i]))) *found = true;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        if (str_find(str_make(lower, n), str_of(pieces[i])) >= 0) *found = true;
}

bool http_is_proxied(struct http_request *r) {
    must(r->mhd);
    bool found = false;
    http_headers_each(r, look_for_proxy, &found);
    return found;
}
