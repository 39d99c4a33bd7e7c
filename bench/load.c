/* load: a closed-loop HTTP/1.1 load generator, one thread, keep-alive.
 *
 *     load HOST PORT CONNECTIONS WARM_UP_S SECONDS REQUESTS_FILE
 *
 * Each connection sends a request, waits for the whole answer, checks it, and sends the next: so the
 * load adapts to the server, and the latencies are service times under full load (they do not contain the
 * queueing an open-loop client would see). REQUESTS_FILE holds raw requests, each after a line with its length
 * in bytes; every connection walks the list from a place of its own, so keys vary and rarely meet.
 *
 * Prints "measuring" when the warm-up is over, and at the end one JSON object. Exit code 0 when the run
 * took place, whatever the server answered (errors are counted); 1 when it could not; 2 when used wrongly.
 *
 * The grammar read is RFC 9112: status line (4), Content-Length and chunked bodies (6, 7.1). Nothing else is
 * accepted, so a server that answers sloppily shows up as errors and not as speed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_BYTES_MAX = 64 * 1024,  /* the largest answer of our works is about 2 KB */
    REQUEST_BYTES_MAX = 8 * 1024,  /* fits an idle socket's send buffer (16 KB at least), so one write suffices */
    CONNECTIONS_MAX = 4096,
    REQUESTS_MAX = 65536,
    ERRORS_MAX = 10000,            /* a server that fails this often is not being measured, only hit */
    EVENTS_PER_WAIT = 256,
};

typedef struct { const char *bytes; size_t length; } Request;

typedef struct {
    int fd;
    size_t next;                    /* index of the request to send */
    uint64_t sent_ns;
    size_t filled;
    char answer[ANSWER_BYTES_MAX + 1];
} Connection;

/* What one look at the bytes received so far tells. */
typedef enum { INCOMPLETE, COMPLETE, COMPLETE_AND_CLOSING, REFUSED, MALFORMED } Verdict;

static struct sockaddr_in server;
static Request *requests;
static size_t request_count;
static int poller;

static uint32_t *latencies_us;
static size_t latency_count, latency_room;
static uint64_t refused, malformed, disconnected;
static int measuring;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------------ reading an answer */

/* The value of header NAME between HEAD and END, or NULL. */
static const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line < end; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
    }
    return NULL;
}

/* Whether a chunked body that starts at AT is whole: 1 yes, 0 not yet, -1 malformed; *LENGTH gets its size. */
static int chunked(const char *at, const char *end, size_t *length) {
    const char *start = at;
    for (;;) {
        const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!line_end) return 0;
        char *after_size;
        unsigned long size = strtoul(at, &after_size, 16);
        if (after_size == at || size > ANSWER_BYTES_MAX) return -1;
        if ((size_t)(end - line_end) < size + 4) return 0;
        at = line_end + 2 + size;
        if (memcmp(at, "\r\n", 2) != 0) return -1;      /* for the last chunk: trailers are not expected */
        at += 2;
        if (size == 0) return *length = (size_t)(at - start), 1;
    }
}

static Verdict judge(Connection *c) {
    c->answer[c->filled] = '\0';
    const char *end = c->answer + c->filled;
    const char *blank = strstr(c->answer, "\r\n\r\n");
    if (!blank) return c->filled < ANSWER_BYTES_MAX ? INCOMPLETE : MALFORMED;
    if (strncmp(c->answer, "HTTP/1.1 ", 9) != 0) return MALFORMED;

    const char *body = blank + 4, *value;
    size_t length = 0;
    if ((value = header(c->answer, blank, "transfer-encoding"))) {
        if (strncasecmp(value, "chunked", 7) != 0) return MALFORMED;
        int whole = chunked(body, end, &length);
        if (whole < 0) return MALFORMED;
        if (whole == 0) return c->filled < ANSWER_BYTES_MAX ? INCOMPLETE : MALFORMED;
    } else if ((value = header(c->answer, blank, "content-length"))) {
        length = strtoul(value, NULL, 10);
        if (length > ANSWER_BYTES_MAX - (size_t)(body - c->answer)) return MALFORMED;
        if ((size_t)(end - body) < length) return INCOMPLETE;
    } else if (strncmp(c->answer + 9, "204", 3) != 0 && strncmp(c->answer + 9, "304", 3) != 0) {
        return MALFORMED;                               /* a body of unknown length cannot be kept alive */
    }
    if ((size_t)(end - body) != length) return MALFORMED; /* we never pipeline: more bytes are a framing error */
    if (c->answer[9] != '2' && strncmp(c->answer + 9, "304", 3) != 0) return REFUSED;
    value = header(c->answer, blank, "connection");
    return value && strncasecmp(value, "close", 5) == 0 ? COMPLETE_AND_CLOSING : COMPLETE;
}

/* ------------------------------------------------------------------ one connection */

static void send_next(Connection *c) {
    Request *r = &requests[c->next];
    c->next = (c->next + 1) % request_count;
    c->filled = 0;
    c->sent_ns = now_ns();
    if (write(c->fd, r->bytes, r->length) != (ssize_t)r->length)
        shutdown(c->fd, SHUT_RDWR);                     /* the read that follows counts it and reconnects */
}

static void open_connection(Connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) die("socket");
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0) die("connect");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
    send_next(c);
}

static void reopen(Connection *c) {
    close(c->fd);
    open_connection(c);
}

static void record(Connection *c) {
    if (!measuring) return;
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 16;
        latencies_us = realloc(latencies_us, latency_room * sizeof *latencies_us);
        if (!latencies_us) die("memory for latencies");
    }
    latencies_us[latency_count++] = (uint32_t)((now_ns() - c->sent_ns) / 1000);
}

static void on_readable(Connection *c) {
    ssize_t got = recv(c->fd, c->answer + c->filled, ANSWER_BYTES_MAX - c->filled, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { disconnected++; reopen(c); return; }
    c->filled += (size_t)got;
    switch (judge(c)) {
        case INCOMPLETE:           return;
        case COMPLETE:             record(c); send_next(c); return;
        case COMPLETE_AND_CLOSING: record(c); reopen(c); return;
        case REFUSED:              refused++; reopen(c); return;
        case MALFORMED:            malformed++; reopen(c); return;
    }
}

static uint64_t errors(void) { return refused + malformed + disconnected; }

static void run_until(uint64_t end_ns) {
    struct epoll_event events[EVENTS_PER_WAIT];
    for (uint64_t now = now_ns(); now < end_ns && errors() < ERRORS_MAX; now = now_ns()) {
        int ready = epoll_wait(poller, events, EVENTS_PER_WAIT, (int)((end_ns - now) / 1000000 + 1));
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) on_readable(events[i].data.ptr);
    }
}

/* ------------------------------------------------------------------ set-up and report */

static void read_requests(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    requests = calloc(REQUESTS_MAX, sizeof *requests);
    size_t length;
    while (request_count < REQUESTS_MAX && fscanf(file, "%zu", &length) == 1) {
        char *bytes = length && length <= REQUEST_BYTES_MAX ? malloc(length) : NULL;
        if (!bytes || fgetc(file) != '\n' || fread(bytes, 1, length, file) != length) die(path);
        requests[request_count++] = (Request){bytes, length};
    }
    fclose(file);
    if (request_count == 0) die(path);
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(double p) {
    if (latency_count == 0) return 0;
    size_t index = (size_t)(p * (double)(latency_count - 1));
    return latencies_us[index] / 1000.0;
}

static void report(double seconds) {
    qsort(latencies_us, latency_count, sizeof *latencies_us, ascending);
    printf("{\"requests\": %zu, \"errors\": %llu, \"refused\": %llu, \"malformed\": %llu, \"disconnected\": %llu, "
           "\"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
           latency_count, (unsigned long long)errors(), (unsigned long long)refused, (unsigned long long)malformed,
           (unsigned long long)disconnected, seconds, percentile_ms(0.50), percentile_ms(0.99), percentile_ms(1.0));
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load HOST PORT CONNECTIONS WARM_UP_S SECONDS REQUESTS_FILE\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    size_t connection_count = (size_t)atoi(argv[3]);
    double warm_up_s = atof(argv[4]), measured_s = atof(argv[5]);
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || connection_count < 1
        || connection_count > CONNECTIONS_MAX || measured_s <= 0 || measured_s > 600) {
        fprintf(stderr, "load: HOST is an IPv4 address, CONNECTIONS 1 to %d, SECONDS up to 600\n", CONNECTIONS_MAX);
        return 2;
    }
    read_requests(argv[6]);

    poller = epoll_create1(0);
    Connection *connections = calloc(connection_count, sizeof *connections);
    if (!connections) die("memory for connections");
    for (size_t i = 0; i < connection_count; i++) {
        connections[i].next = i * request_count / connection_count;
        open_connection(&connections[i]);
    }

    run_until(now_ns() + (uint64_t)(warm_up_s * 1e9));
    measuring = 1;
    puts("measuring");
    fflush(stdout);
    uint64_t start_ns = now_ns();
    run_until(start_ns + (uint64_t)(measured_s * 1e9));
    report((double)(now_ns() - start_ns) / 1e9);
    return 0;
}
