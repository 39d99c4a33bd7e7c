/* followers: clients that follow live queries over HTTP/1.1, one thread, each on a connection of its own.
 *
 *     followers HOST PORT CONNECTIONS KEYS
 *
 * Connection i follows /world/K, K = 1 + i modulo KEYS. Prints "ready" once each has its first state, and from then on
 * a line for each state that comes: the connection, the number that the state says, and when it was read, in seconds of
 * CLOCK_MONOTONIC. Ends with 0 when its input does, and with 1 as soon as any client is refused or left.
 *
 * Source: HTML, 9.2 "Server-sent events": an event ends with an empty line. How chunks are framed does not matter: no
 * event of ours is split, and a size line is never taken for data.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 20000,       /* loopback has 28 000 ports to connect from (ip_local_port_range) */
    COMING_MAX = 64,               /* who connect at once: as many as the other works' connections */
    BUFFER_BYTES = 2048,           /* a head of 600 bytes and an event of 100 */
    EVENTS_PER_WAIT = 256,
};

typedef struct {
    int fd;
    int has_state;
    size_t filled;
    char buffer[BUFFER_BYTES + 1];
} Follower;

static struct sockaddr_in server;
static Follower *followers;
static size_t count, keys, begun, come;
static int poller, is_ready;

static void die(const char *what) {
    fprintf(stderr, "followers: %s: %s\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin_one(void) {
    Follower *f = &followers[begun];
    char request[256];
    int length = snprintf(request, sizeof request,
        "GET /world/%zu HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", 1 + begun % keys);
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (f->fd < 0) die("socket");
    if (connect(f->fd, (struct sockaddr *)&server, sizeof server) < 0) die("connect");
    if (write(f->fd, request, (size_t)length) != length) die("write");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = f};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, f->fd, &event) < 0) die("epoll_ctl");
    begun++;
}

static void begin_some(void) {
    while (begun < count && begun - come < COMING_MAX) begin_one();
    if (come == count && !is_ready) {
        is_ready = 1;
        puts("ready");
    }
}

static void on_event(Follower *f, const char *event) {
    static const char name[] = "\"random_number\":";
    const char *number = strstr(event, name);
    if (!number) return;                                /* the pause before coming back, or a heartbeat */
    if (is_ready) printf("%zu %ld %.6f\n", (size_t)(f - followers), atol(number + sizeof name - 1), now_s());
    if (!f->has_state) {
        f->has_state = 1;
        come++;
        begin_some();
    }
}

static void on_readable(Follower *f) {
    ssize_t got = recv(f->fd, f->buffer + f->filled, BUFFER_BYTES - f->filled, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    f->filled += got > 0 ? (size_t)got : 0;
    f->buffer[f->filled] = '\0';
    if (!f->has_state && f->filled >= 12 && strncmp(f->buffer, "HTTP/", 5) == 0 && strncmp(f->buffer + 9, "200", 3) != 0)
        die(f->buffer);
    if (got <= 0 || f->filled == BUFFER_BYTES) die("a client was left");
    char *event = f->buffer;
    for (char *end; (end = strstr(event, "\n\n")); event = end + 2) {
        *end = '\0';
        on_event(f, event);
    }
    f->filled -= (size_t)(event - f->buffer);
    memmove(f->buffer, event, f->filled);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: followers HOST PORT CONNECTIONS KEYS\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    count = (size_t)atoi(argv[3]), keys = (size_t)atoi(argv[4]);
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || count < 1 || count > CONNECTIONS_MAX || keys < 1) {
        fprintf(stderr, "followers: HOST is an IPv4 address, CONNECTIONS 1 to %d\n", CONNECTIONS_MAX);
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0) die("getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) die("setrlimit");
    setvbuf(stdout, NULL, _IOFBF, 1 << 20);             /* told when nothing is to be read, not for each */

    poller = epoll_create1(0);
    followers = calloc(count, sizeof *followers);
    if (!followers) die("memory for connections");
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0) die("epoll_ctl");
    begin_some();
    for (;;) {
        struct epoll_event events[EVENTS_PER_WAIT];
        int ready = epoll_wait(poller, events, EVENTS_PER_WAIT, 0);
        if (ready == 0) {
            fflush(stdout);
            ready = epoll_wait(poller, events, EVENTS_PER_WAIT, -1);
        }
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (!events[i].data.ptr) return 0;
            on_readable(events[i].data.ptr);
        }
    }
}
