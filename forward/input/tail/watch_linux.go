package tail

import (
	"slices"

	"golang.org/x/sys/unix"
)

// remoteTypes are the file systems on which others change files: the kernel does not see that and does not tell.
var remoteTypes = []int64{
	unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	unix.CEPH_SUPER_MAGIC, unix.V9FS_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC,
	unix.OCFS2_SUPER_MAGIC, unix.AFS_FS_MAGIC, 0x0bd00bd0 /* Lustre */, 0x01161970, /* GFS2 */
}

// tellsNothing says whether changes in dir have to be found by looking.
func tellsNothing(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false
	}
	return slices.Contains(remoteTypes, int64(st.Type)&0xffffffff)
}
