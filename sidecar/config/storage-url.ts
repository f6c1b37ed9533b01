/** A storage URL, parsed. */
export interface StorageUrl {
  /** As it stands in the file, before `${}` expansion: the key of `url_options`. */
  readonly written: string;
  /** Expanded and normalised (no trailing slash, one form a scheme): what is shown, compared and hashed. */
  readonly url: string;
  readonly scheme: 'file' | 's3' | 'adls' | 'gcs';
  /** file: the absolute directory. Object stores: the prefix, possibly empty. */
  readonly path: string;
  /** Object stores: the bucket or container. */
  readonly bucket?: string;
  /** adls: the account's host name. */
  readonly host?: string;
}
