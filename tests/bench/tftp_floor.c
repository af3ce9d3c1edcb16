/* The least a server of the boot storm can do, to say what a machine and the load generator allow.
 *
 * One socket for everything, files in memory from the start, blocks of 512 octets in lockstep, whole
 * calls of datagrams at a time. No option, no timer, no limit, no log: nobody could run it, and every
 * server that somebody could run has more to do.
 *
 *   tftp_floor HOST PORT FOLDER
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AT_ONCE = 64, BLOCK = 512, LARGEST = 1 << 20, FILES = 1 << 14, PEERS = 1 << 18 };

struct file { char *name; const unsigned char *content; size_t size; };
struct peer { uint32_t host; uint16_t port; const struct file *file; };

static struct file files[FILES]; /* both are open hash tables, with room enough */
static struct peer peers[PEERS];

static struct file *file_named(const char *name)
{
    unsigned place = 5381;
    for (const char *at = name; *at; at++) place = place * 33 + (unsigned char)*at;
    struct file *found = &files[place % FILES];
    while (found->name && strcmp(found->name, name)) found = found == files ? &files[FILES - 1] : found - 1;
    return found;
}

static struct peer *peer_at(const struct sockaddr_in *from)
{
    uint32_t host = from->sin_addr.s_addr, port = from->sin_port;
    struct peer *found = &peers[(host * 2654435761u ^ port * 40503u) % PEERS];
    while (found->host && (found->host != host || found->port != port))
        found = found == peers ? &peers[PEERS - 1] : found - 1;
    found->host = host;
    found->port = (uint16_t)port;
    return found;
}

static void load(const char *folder)
{
    DIR *listing = opendir(folder);
    if (!listing || chdir(folder)) err(1, "%s", folder);
    for (struct dirent *entry; (entry = readdir(listing));) {
        struct stat is;
        int opened = open(entry->d_name, O_RDONLY);
        if (opened < 0 || fstat(opened, &is)) err(1, "%s", entry->d_name);
        if (S_ISREG(is.st_mode) && is.st_size > 0 && is.st_size < LARGEST) {
            struct file *file = file_named(entry->d_name);
            file->name = strdup(entry->d_name);
            file->size = (size_t)is.st_size;
            file->content = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, opened, 0);
            if (file->content == MAP_FAILED) err(1, "%s", entry->d_name);
        }
        close(opened);
    }
    closedir(listing);
}

static unsigned char asked[AT_ONCE][BLOCK + 4], header[AT_ONCE][4];
static struct iovec in[AT_ONCE], out[AT_ONCE][2];
static struct sockaddr_in from[AT_ONCE];
static struct mmsghdr received[AT_ONCE], answers[AT_ONCE];
static unsigned char missing[] = "\0\5\0\1File not found"; /* RFC 1350 section 5, ERROR 1 */

/* Prepares the answer to one datagram; 0 when there is none. */
static int answer(const unsigned char *datagram, size_t length, struct sockaddr_in *to, unsigned at)
{
    if (length < 4) return 0;
    struct peer *peer = peer_at(to);
    size_t offset = 0;
    if (datagram[1] == 1) {
        const struct file *file = file_named((const char *)datagram + 2);
        peer->file = file->name ? file : NULL;
    } else if (peer->file)
        offset = (size_t)(datagram[2] << 8 | datagram[3]) * BLOCK;
    else
        return 0;
    answers[at].msg_hdr.msg_name = to;
    out[at][0] = (struct iovec){missing, sizeof missing};
    out[at][1] = (struct iovec){NULL, 0};
    if (!peer->file) return 1;
    if (offset > peer->file->size) return 0; /* the last ACK */
    size_t left = peer->file->size - offset, block = offset / BLOCK + 1;
    memcpy(header[at], (unsigned char[]){0, 3, (unsigned char)(block >> 8), (unsigned char)block}, 4);
    out[at][0] = (struct iovec){header[at], 4};
    out[at][1] = (struct iovec){(void *)(peer->file->content + offset), left < BLOCK ? left : BLOCK};
    return 1;
}

int main(int count, char **arguments)
{
    if (count != 4) errx(2, "tftp_floor HOST PORT FOLDER");
    load(arguments[3]);
    int service = socket(AF_INET, SOCK_DGRAM, 0), octets = 8 << 20;
    if (setsockopt(service, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets))
        setsockopt(service, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[2]))};
    if (inet_pton(AF_INET, arguments[1], &here.sin_addr) != 1 || bind(service, (void *)&here, sizeof here))
        err(1, "%s:%s", arguments[1], arguments[2]);
    for (unsigned each = 0; each < AT_ONCE; each++) {
        in[each] = (struct iovec){asked[each], BLOCK};
        received[each].msg_hdr.msg_iov = &in[each];
        received[each].msg_hdr.msg_iovlen = 1;
        received[each].msg_hdr.msg_name = &from[each];
        received[each].msg_hdr.msg_namelen = sizeof *from;
        answers[each].msg_hdr.msg_iov = out[each];
        answers[each].msg_hdr.msg_iovlen = 2;
        answers[each].msg_hdr.msg_namelen = sizeof *from;
    }
    for (;;) {
        int taken = recvmmsg(service, received, AT_ONCE, MSG_WAITFORONE, NULL);
        unsigned ready = 0, sent = 0;
        for (int each = 0; each < taken; each++)
            ready += (unsigned)answer(asked[each], received[each].msg_len, &from[each], ready);
        while (sent < ready) {
            int now = sendmmsg(service, answers + sent, ready - sent, 0);
            sent += now > 0 ? (unsigned)now : 1;
        }
    }
}
