/* A disk whose syncs take longer: preloaded, each fsync and fdatasync also waits SLOW_SYNC_US, as a disk would.
   No thread is kept from running meanwhile, and the sync itself is still done. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slow(const char *name, int file)
{
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *microseconds = getenv("SLOW_SYNC_US");
    if (microseconds)
        usleep((useconds_t)strtoul(microseconds, NULL, 10));
    return sync(file);
}

int fsync(int file) { return slow("fsync", file); }

int fdatasync(int file) { return slow("fdatasync", file); }
