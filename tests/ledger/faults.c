/* Fails writes and syncs of files by name, as a broken or a full disk would. Preloaded.
 *
 * A sync that fails has lost what was written since the last one that did not, and none of that
 * file succeeds any more. Losing it is left to the caller, who asks how much was safe. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, FILES = 256 };

struct known {
    ino_t file;
    off_t safe;
    int broken;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known files[FILES];
static char part[PATH_MAX];
static int operations, failure;
static long before, times, hits;

/* From the `after`th operation on, fail `count` of them with `error`, or write half where it is 0.
 * Only files whose path contains `of` count. */
void faults_arm(const char *of, int which, long after, long count, int error) {
    strncpy(part, of, sizeof part - 1);
    operations = which;
    failure = error;
    before = after;
    times = count;
}

long faults_hits(void) { return hits; }

/* How many bytes of a file are safe if a sync of it has failed, else -1. */
long faults_safe(long file) {
    for (int i = 0; i < FILES; i++)
        if (files[i].file == (ino_t)file) return files[i].broken ? files[i].safe : -1;
    return -1;
}

static struct known *find(int descriptor, off_t *size) {
    char link[64], path[PATH_MAX];
    struct stat status;
    ssize_t length;
    if (!part[0]) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    if (strstr(path, part) == NULL || fstat(descriptor, &status) < 0) return NULL;
    *size = status.st_size;
    for (int i = 0; i < FILES; i++) {
        if (files[i].file == status.st_ino) return &files[i];
        if (files[i].file == 0) {
            files[i].file = status.st_ino;
            files[i].safe = status.st_size;
            return &files[i];
        }
    }
    return NULL;
}

static int is_due(int operation) {
    if (!(operations & operation) || times <= 0 || before-- > 0) return 0;
    times--;
    hits++;
    return 1;
}

/* Whether a write fails now; `half` tells that it is to be cut short instead. */
static int write_fails(int descriptor, int *half) {
    off_t size;
    pthread_mutex_lock(&lock);
    int fails = find(descriptor, &size) != NULL && is_due(WRITES);
    pthread_mutex_unlock(&lock);
    *half = fails && !failure;
    if (fails) errno = failure;
    return fails && failure;
}

static int sync_file(int descriptor, int (*really)(int)) {
    off_t size = 0;
    pthread_mutex_lock(&lock);
    struct known *file = find(descriptor, &size);
    if (file != NULL && (file->broken || is_due(SYNCS))) {
        file->broken = 1;
        pthread_mutex_unlock(&lock);
        errno = EIO;
        return -1;
    }
    pthread_mutex_unlock(&lock);
    int result = really(descriptor);
    pthread_mutex_lock(&lock);
    /* Also where another sync of it has failed meanwhile: this one had begun before. */
    if (file != NULL && result == 0 && size > file->safe) file->safe = size;
    pthread_mutex_unlock(&lock);
    return result;
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *bytes, size_t size) {
    int half;
    if (write_fails(file, &half)) return -1;
    return REAL(write)(file, bytes, half ? size / 2 : size);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
    int half;
    if (write_fails(file, &half)) return -1;
    return REAL(pwrite)(file, bytes, half ? size / 2 : size, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    int half;
    if (write_fails(file, &half)) return -1;
    return REAL(pwrite64)(file, bytes, half ? size / 2 : size, at);
}

int fsync(int file) { return sync_file(file, REAL(fsync)); }

int fdatasync(int file) { return sync_file(file, REAL(fdatasync)); }
