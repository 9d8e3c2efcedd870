//! Sets of cores as files of the kernel have them: as lists and as masks. Nonsense is no core.

/// `0-2,5` as numbers.
pub fn from_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (last < CORES_MAX).then_some(first..=last)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// `ffffffff,00000003` as numbers.
pub fn from_mask(mask: &str) -> Vec<usize> {
    let words: Option<Vec<u32>> =
        mask.split(',').rev().map(|word| u32::from_str_radix(word, 16).ok()).collect();
    let bits = words.unwrap_or_default().into_iter().enumerate();
    bits.flat_map(|(at, word)| {
        (0..32).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 32 + bit)
    })
    .collect()
}

/// Numbers as a file with a mask takes them.
pub fn to_mask(cores: &[usize]) -> String {
    let mut words = vec![0_u32; cores.iter().max().map_or(1, |core| core / 32 + 1)];
    cores.iter().for_each(|core| words[core / 32] |= 1 << (core % 32));
    words.iter().rev().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(",")
}

const CORES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(from_list("0-2,5,7-8"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(from_list(""), [0; 0]);
        assert_eq!(from_list("x,3-,4-99999999999"), [0; 0]);
    }

    #[test]
    fn masks_are_read_and_written() {
        for (text, cores) in
            [("3", vec![0, 1]), ("80000000,00000001", vec![0, 63]), ("x", vec![]), ("", vec![])]
        {
            assert_eq!(from_mask(text), cores, "{text}");
        }
        assert_eq!(to_mask(&[0, 1]), "00000003");
        assert_eq!(to_mask(&[33, 0]), "00000002,00000001");
        assert_eq!(from_mask(&to_mask(&[5, 40, 64])), [5, 40, 64]);
    }
}
