/* flood: an open-loop HTTP/1.1 load generator, one thread, keep-alive.
 *
 *     flood HOST PORT WARM_UP_S SECONDS DEADLINE_S SEED FLOWS_FILE
 *
 * Clients arrive whether or not the server answers, as the public does: each flow is a Poisson process of its own. A
 * client that has no answer DEADLINE_S after its scheduled arrival closes its connection. Latency runs from the
 * scheduled arrival, so a generator that falls behind makes the server look worse, not better; how far it fell behind
 * is reported too ("late_ms_p99"). FLOWS_FILE holds one flow after the other: a line "NAME RATE LENGTH" and LENGTH bytes
 * of a raw request, which all clients of the flow send.
 *
 * Prints "measuring" when the warm-up is over, and at the end one JSON object a line and flow, counting the clients
 * that were scheduled in the measured window; others come before and after it. Exit code 0 when the run took place, 1 when it could not, 2 when used
 * wrongly.
 *
 * Answers are read as far as open loops need it: the status line, Content-Length, and the body's length (RFC 9112, 4 and
 * 6). A chunked answer counts as malformed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
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
    ANSWER_BYTES_MAX = 8 * 1024,    /* an answer of these works has some hundred bytes */
    REQUEST_BYTES_MAX = 8 * 1024,
    CONNECTIONS_MAX = 16 * 1024,    /* clients at once: 10,000 a second that wait a second each, and some more */
    FLOWS_MAX = 16,
    SAMPLES_MAX = 4 * 1000 * 1000,  /* a minute at the highest rate we ask for, 10,000 a second, six times over */
    EVENTS_PER_WAIT = 256,
};

typedef enum { SERVED, REFUSED, OTHER, BROKEN, LEFT, UNSENT, OUTCOMES } Outcome;
static const char *const NAMES[OUTCOMES] = {"served", "refused", "other", "broken", "left", "unsent"};

typedef struct { uint32_t *us; size_t count, room; } Samples;

typedef struct {
    char name[32];
    double per_s;
    char request[REQUEST_BYTES_MAX];
    size_t length;
    uint64_t next_ns;
    uint64_t offered, counts[OUTCOMES];
    Samples latencies[OUTCOMES];
} Flow;

typedef struct Connection {
    int fd;
    int is_busy;
    int is_reused;                  /* it served somebody before, so the server may have closed it meanwhile */
    Flow *flow;
    uint64_t due_ns;                /* when its client was scheduled to arrive */
    uint64_t serial;                /* tells its clients apart */
    size_t filled;
    char answer[ANSWER_BYTES_MAX + 1];
    struct Connection *next_idle;
} Connection;

typedef struct { Connection *connection; uint64_t serial, leaves_ns; } Waiting;

static struct sockaddr_in server;
static Flow flows[FLOWS_MAX];
static size_t flow_count, connection_count, busy_count;
static Connection *connections, *idle;
static Waiting *waiting;            /* a ring: everybody is as patient, so who came first leaves first */
static size_t waiting_first, waiting_end, waiting_room;
static uint64_t measure_from_ns, measure_to_ns, deadline_ns;
static Samples lateness;
static int poller;

static void die(const char *what) {
    fprintf(stderr, "flood: %s: %s\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add(Samples *s, uint64_t ns) {
    if (s->count >= SAMPLES_MAX) return;
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 1024;
        s->us = realloc(s->us, s->room * sizeof *s->us);
        if (!s->us) die("memory for samples");
    }
    s->us[s->count++] = (uint32_t)(ns / 1000);
}

/* ------------------------------------------------------------------ one client */

static int is_measured(uint64_t due_ns) { return due_ns >= measure_from_ns && due_ns < measure_to_ns; }

static void count(Flow *flow, uint64_t due_ns, Outcome outcome) {
    if (!is_measured(due_ns)) return;
    flow->counts[outcome]++;
    add(&flow->latencies[outcome], now_ns() - due_ns);
}

/* The client has gone, with an answer or without; its connection may serve the next one. */
static void end(Connection *c, Outcome outcome, int keeps_connection) {
    /* Whatever came when the client had gone came for nobody. */
    count(c->flow, c->due_ns, now_ns() - c->due_ns > deadline_ns ? LEFT : outcome);
    c->is_busy = 0;
    busy_count--;
    if (!keeps_connection) {
        close(c->fd);
        c->fd = -1;
    }
    c->next_idle = idle;
    idle = c;
}

static int open_connection(Connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) return 0;
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct linger reset = {1, 0};   /* who leaves does not keep the port in TIME_WAIT: there are some 28,000 */
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    /* On loopback a connection stands at once, or the server's backlog is full. */
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        return 0;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
    return 1;
}

static void fail(Connection *c);

static void send_request(Connection *c) {
    c->filled = 0;
    ssize_t sent = send(c->fd, c->flow->request, c->flow->length, MSG_NOSIGNAL);
    if (sent == (ssize_t)c->flow->length) return;
    if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN)) c->filled = SIZE_MAX; /* once it is connected */
    else fail(c);
}

/* A connection that the server closed just then, before it heard of the request: the client takes another (RFC 9112,
 * 9.3.1), once. Anything else is a broken one. */
static void fail(Connection *c) {
    int is_unheard = c->is_reused && (c->filled == 0 || c->filled == SIZE_MAX);
    c->is_reused = 0;
    if (!is_unheard) { end(c, BROKEN, 0); return; }
    close(c->fd);
    if (open_connection(c)) send_request(c);
    else end(c, UNSENT, 0);
}

static void arrive(Flow *flow, uint64_t due_ns) {
    if (is_measured(due_ns)) {
        flow->offered++;
        add(&lateness, now_ns() - due_ns);
    }
    /* Only if this generator cannot keep up: the server is not to be blamed for that, nor hit by all of them at once. */
    if (now_ns() - due_ns > deadline_ns / 2) { count(flow, due_ns, UNSENT); return; }
    Connection *c = idle;
    if (c) idle = c->next_idle;
    else if (connection_count < CONNECTIONS_MAX) {
        c = &connections[connection_count++];
        c->fd = -1;
    }
    if (!c) { count(flow, due_ns, UNSENT); return; }
    c->flow = flow;
    c->due_ns = due_ns;
    c->serial++;
    c->is_busy = 1;
    busy_count++;
    c->is_reused = c->fd >= 0;
    if (c->fd < 0 && !open_connection(c)) { end(c, UNSENT, 0); return; }
    waiting[waiting_end] = (Waiting){c, c->serial, due_ns + deadline_ns};
    waiting_end = (waiting_end + 1) % waiting_room;
    if (waiting_end == waiting_first) die("room for those who wait");
    send_request(c);
}

static void let_leave(uint64_t now) {
    while (waiting_first != waiting_end && waiting[waiting_first].leaves_ns <= now) {
        Waiting w = waiting[waiting_first];
        waiting_first = (waiting_first + 1) % waiting_room;
        if (w.connection->is_busy && w.connection->serial == w.serial) end(w.connection, LEFT, 0);
    }
}

/* ------------------------------------------------------------------ reading an answer */

static void read_answer(Connection *c) {
    ssize_t got;
    while ((got = recv(c->fd, c->answer + c->filled, ANSWER_BYTES_MAX - c->filled, 0)) > 0) {
        c->filled += (size_t)got;
        c->answer[c->filled] = '\0';
        char *blank = strstr(c->answer, "\r\n\r\n");
        if (!blank && c->filled < ANSWER_BYTES_MAX) continue;
        char *length = blank ? strcasestr(c->answer, "\r\ncontent-length:") : NULL;
        if (!length || length > blank || strncmp(c->answer, "HTTP/1.1 ", 9) != 0) { end(c, BROKEN, 0); return; }
        if (c->filled < (size_t)(blank + 4 - c->answer) + strtoul(length + 17, NULL, 10)) continue;
        Outcome outcome = c->answer[9] == '2' ? SERVED : strncmp(c->answer + 9, "503", 3) == 0 ? REFUSED : OTHER;
        char *connection = strcasestr(c->answer, "\r\nconnection: close");
        end(c, outcome, !(connection && connection < blank));
        return;
    }
    if (got < 0 && errno == EAGAIN) return;
    fail(c);
}

static void on_event(Connection *c, uint32_t events) {
    if (c->fd < 0) return;
    if (!c->is_busy) {              /* the server closed a connection that nobody uses */
        if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP | EPOLLIN)) {
            char byte;
            if (recv(c->fd, &byte, 1, MSG_PEEK) == 0 || (events & (EPOLLHUP | EPOLLERR))) {
                close(c->fd);
                c->fd = -1;
            }
        }
        return;
    }
    if (c->filled == SIZE_MAX && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        send_request(c);
        if (!c->is_busy || c->filled == SIZE_MAX) return;
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) read_answer(c);
}

/* ------------------------------------------------------------------ the run */

static double pause_s(double per_s) { return -log(1.0 - drand48()) / per_s; }

static void run(uint64_t stop_ns) {
    struct epoll_event events[EVENTS_PER_WAIT];
    int has_said = 0;
    for (;;) {
        uint64_t now = now_ns(), next_ns = UINT64_MAX;
        if (!has_said && now >= measure_from_ns) { has_said = 1; puts("measuring"); fflush(stdout); }
        for (size_t i = 0; i < flow_count; i++) {
            Flow *f = &flows[i];
            while (f->next_ns <= now && f->next_ns < stop_ns) {
                arrive(f, f->next_ns);
                f->next_ns += (uint64_t)(pause_s(f->per_s) * 1e9);
            }
            if (f->next_ns < stop_ns && f->next_ns < next_ns) next_ns = f->next_ns;
        }
        if (now >= stop_ns && busy_count == 0) return;
        uint64_t wait_ns = next_ns == UINT64_MAX ? 1000000 : next_ns > now ? next_ns - now : 0;
        if (wait_ns > 5000000) wait_ns = 5000000;
        struct timespec wait = {0, (long)wait_ns};
        int ready = epoll_pwait2(poller, events, EVENTS_PER_WAIT, &wait, NULL);
        if (ready < 0 && errno != EINTR) die("epoll_pwait2");
        for (int i = 0; i < ready; i++) on_event(events[i].data.ptr, events[i].events);
        /* Not before all answers that are there were read: a generator that was kept waiting itself would take
         * clients for gone that have been answered. */
        if (ready < EVENTS_PER_WAIT) let_leave(now_ns());
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(Samples *s, double p) {
    if (s->count == 0) return 0;
    qsort(s->us, s->count, sizeof *s->us, ascending);
    return s->us[(size_t)(p * (double)(s->count - 1))] / 1000.0;
}

static void report(void) {
    double late = percentile_ms(&lateness, 0.99);
    for (size_t i = 0; i < flow_count; i++) {
        Flow *f = &flows[i];
        printf("{\"name\": \"%s\", \"offered\": %llu", f->name, (unsigned long long)f->offered);
        for (int o = 0; o < OUTCOMES; o++) printf(", \"%s\": %llu", NAMES[o], (unsigned long long)f->counts[o]);
        printf(", \"served_p50_ms\": %.1f, \"served_p99_ms\": %.1f, \"refused_p99_ms\": %.1f, \"late_p99_ms\": %.1f}\n",
               percentile_ms(&f->latencies[SERVED], 0.5), percentile_ms(&f->latencies[SERVED], 0.99),
               percentile_ms(&f->latencies[REFUSED], 0.99), late);
    }
}

static void read_flows(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    for (; flow_count < FLOWS_MAX; flow_count++) {
        Flow *f = &flows[flow_count];
        int found = fscanf(file, "%31s %lf %zu", f->name, &f->per_s, &f->length);
        if (found == EOF) break;
        if (found != 3 || f->per_s <= 0 || f->length > REQUEST_BYTES_MAX || fgetc(file) != '\n'
            || fread(f->request, 1, f->length, file) != f->length)
            die(path);
    }
    fclose(file);
    if (flow_count == 0) die(path);
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: flood HOST PORT WARM_UP_S SECONDS DEADLINE_S SEED FLOWS_FILE\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    double warm_up_s = atof(argv[3]), seconds = atof(argv[4]), deadline_s = atof(argv[5]);
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || seconds <= 0 || seconds > 60 || warm_up_s < 0
        || warm_up_s > 60 || deadline_s <= 0 || deadline_s > 60) {
        fprintf(stderr, "flood: HOST is an IPv4 address; WARM_UP_S, SECONDS and DEADLINE_S at most 60\n");
        return 2;
    }
    srand48(atol(argv[6]));
    read_flows(argv[7]);
    poller = epoll_create1(0);
    connections = calloc(CONNECTIONS_MAX, sizeof *connections);
    waiting_room = 1 << 20;         /* who was answered stays in the ring until it would have left */
    waiting = calloc(waiting_room, sizeof *waiting);
    if (!connections || !waiting) die("memory for clients");
    uint64_t start_ns = now_ns();
    deadline_ns = (uint64_t)(deadline_s * 1e9);
    measure_from_ns = start_ns + (uint64_t)(warm_up_s * 1e9);
    measure_to_ns = measure_from_ns + (uint64_t)(seconds * 1e9);
    for (size_t i = 0; i < flow_count; i++)
        flows[i].next_ns = start_ns + (uint64_t)(pause_s(flows[i].per_s) * 1e9);
    /* The load goes on until the last of those who count has gone: otherwise they would have all slots to themselves. */
    run(measure_to_ns + deadline_ns);
    report();
    return 0;
}
