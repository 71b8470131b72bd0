//! Ways to spell a path that leaves a root.

const TARGETS: [&str; 4] = [
    "etc/passwd",
    "secret",
    "proc/self/environ",
    "proc/self/cmdline",
];
const UPS: [&str; 12] = [
    "../",
    "..//",
    "./../",
    "....//",
    "..\\",
    "%2e%2e/",
    "..%2f",
    "..%c0%af",
    ".././",
    "a/../../",
    "boot/../../../",
    "..;/",
];

/// 404 spellings of four files outside, and the links of the root that lead to them.
pub(super) fn escapes() -> Vec<String> {
    let mut all = Vec::new();
    for target in TARGETS {
        for up in UPS {
            for depth in [1, 3, 8, 12] {
                all.push(format!("{}{target}", up.repeat(depth)));
                all.push(format!("/{}{target}", up.repeat(depth)));
            }
        }
        all.extend([
            format!("/{target}"),
            format!("//{target}"),
            format!("file:///{target}"),
            format!("vmlinuz/../../../../../{target}"),
            format!("C:\\..\\{target}"),
        ]);
    }
    assert_eq!(all.len(), 404);
    all.extend(
        [
            "leak",
            "/leak",
            "boot/leak",
            "passwd",
            "up/secret",
            "rootfs/etc/passwd",
            "up/root/up/secret",
            "boot/./leak",
        ]
        .map(str::to_owned),
    );
    all
}
