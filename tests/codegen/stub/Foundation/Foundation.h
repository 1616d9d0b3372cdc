// As much of Foundation as generated classes use, to check them where there is none.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_ASSUME_NONNULL_BEGIN _Pragma("clang assume_nonnull begin")
#define NS_ASSUME_NONNULL_END _Pragma("clang assume_nonnull end")
#define NS_DESIGNATED_INITIALIZER __attribute__((objc_designated_initializer))
#define NS_UNAVAILABLE __attribute__((unavailable))
#define API_AVAILABLE(...)
typedef signed char BOOL;
typedef long NSInteger;
typedef unsigned long NSUInteger;
#define nil ((void *)0)

__attribute__((objc_root_class))
@interface NSObject
+ (instancetype)alloc;
+ (Class)class;
- (instancetype)init;
- (Class)class;
@end

NS_ASSUME_NONNULL_BEGIN
@interface NSString : NSObject
- (BOOL)isEqualToString:(NSString *)other;
@end
@interface NSConstantString : NSString
@end
@interface NSNumber : NSObject
@property (readonly) long long longLongValue;
@property (readonly) double doubleValue;
@end
@interface NSArray<__covariant T> : NSObject
+ (instancetype)arrayWithObjects:(const T _Nonnull [_Nonnull])objects count:(NSUInteger)count;
@end
@interface NSMutableArray<T> : NSArray<T>
+ (instancetype)arrayWithCapacity:(NSUInteger)capacity;
- (void)addObject:(T)object;
@end
@interface NSSet<__covariant T> : NSObject
+ (instancetype)setWithArray:(NSArray<T> *)array;
@end
@interface NSMutableSet<T> : NSSet<T>
- (void)removeObject:(T)object;
@end
@interface NSDictionary<__covariant K, __covariant V> : NSObject
@end
@interface NSError : NSObject
@end
@interface NSURL : NSObject
+ (instancetype)fileURLWithPath:(NSString *)path;
@end
@interface NSBundle : NSObject
+ (instancetype)bundleForClass:(Class)type;
- (nullable NSString *)pathForResource:(nullable NSString *)name ofType:(nullable NSString *)extension;
@end
NS_ASSUME_NONNULL_END
